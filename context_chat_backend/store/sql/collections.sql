-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: ensure
-- Make a collection known.
INSERT INTO knowledge.collections (name) VALUES (%(name)s) ON CONFLICT DO NOTHING

-- name: entitle
-- Give a collection a title.
UPDATE knowledge.collections SET title = %(title)s WHERE name = %(name)s

-- name: forget
-- The collection is known no more, nor who read it.
DELETE FROM knowledge.collections WHERE name = %(name)s

-- name: known
-- Which of these names are those of collections.
SELECT name FROM knowledge.collections WHERE name = ANY (%(names)s::text[])

-- name: all
-- Every collection with its readers and the number of its sources that answer.
SELECT name,
    ARRAY(SELECT reader.name FROM knowledge.collection_readers AS reader
          WHERE reader.collection = collections.name AND reader.realm <> 'key' ORDER BY reader.name),
    (SELECT count(*) FROM source
     WHERE realm = 'local' AND provider = 'collection__' || collections.name AND chunk_count > 0),
    title, created_at,
    EXISTS (SELECT FROM knowledge.collection_readers AS reader
            WHERE reader.collection = collections.name AND reader.realm = 'everybody')
FROM knowledge.collections ORDER BY name

-- name: readers
-- Who reads a collection, and since when that is known; one row without a reader where there is none.
SELECT reader.realm, reader.name, now()
FROM knowledge.collections AS collection
LEFT JOIN knowledge.collection_readers AS reader ON reader.collection = collection.name
WHERE collection.name = %(name)s

-- name: is_read_by
-- Whether somebody reads a collection; as much work where it is not there, and however many others read it.
SELECT EXISTS (SELECT FROM knowledge.collections WHERE name = %(collection)s)
    AND (%(is_itself)s OR EXISTS (SELECT FROM knowledge.collection_readers
                                  WHERE collection = %(collection)s AND realm = %(realm)s AND name = %(name)s))

-- name: add_readers
-- Let these read what is put into a collection from now on.
INSERT INTO knowledge.collection_readers (collection, realm, name)
SELECT %(name)s, * FROM unnest(%(realms)s::text[], %(names)s::text[])
ON CONFLICT DO NOTHING

-- name: remove_readers
-- Let these read nothing of what is put into a collection from now on.
DELETE FROM knowledge.collection_readers
WHERE collection = %(name)s AND (realm, name) IN (SELECT * FROM unnest(%(realms)s::text[], %(names)s::text[]))
