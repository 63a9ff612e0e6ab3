# SPDX-License-Identifier: AGPL-3.0-or-later
"""Write the sample documents anew: `python samples/make_documents.py`.

A small housing co-operative: what lies in `shared/` both alice and bob may read, `alice/` and `bob/` are theirs alone.
"""

from __future__ import annotations

from writers import write, write_docx, write_epub, write_odt, write_pdf, write_pptx, write_xlsx


def main() -> None:
    """Write all files."""
    write_texts()
    write_pdf("shared/fire-safety.pdf", FIRE_SAFETY)
    write_docx("alice/treasurer-report.docx", TREASURER_REPORT)
    write_odt("bob/works-diary.odt", WORKS_DIARY)
    write_xlsx("shared/contacts.xlsx", CONTACTS)
    write_pptx("shared/annual-meeting.pptx", MEETING)
    write_epub("shared/garden-book.epub", GARDEN)


FIRE_SAFETY = [
    [
        "Fire safety in Linden House",
        "Smoke detectors hang in every bedroom and in the stairwell.",
        "They are tested on the first Monday of each month at ten in the morning.",
        "A detector that beeps once a minute needs a new battery; batteries are in the caretaker's office.",
        "The assembly point after an alarm is the chestnut tree in the yard.",
        "Each floor has a fire warden. The wardens count who has arrived and tell the fire brigade who is missing.",
        "Do not use the lift during an alarm. Close doors behind you, but do not lock them.",
        "If the stairwell is full of smoke, stay in your flat, seal the door with wet towels and call 112.",
    ],
    [
        "Extinguishers",
        "Two foam extinguishers hang beside the lift on the ground floor.",
        "The company Brandwacht Nord inspects them every two years; the next inspection is due in October 2027.",
        "Whoever has used an extinguisher tells the caretaker on the same day, so that it is filled again.",
        "Fat that burns in a pan is never put out with water: cover it with a lid and switch off the stove.",
        "Keeping the escape route free",
        "Do not store bicycles or prams in the stairwell: it is the only escape route.",
        "Gas grills are not allowed on balconies. Electric scooters are charged in the bicycle cellar,",
        "where the sockets have their own fuse, and never overnight in a flat.",
    ],
]

TREASURER_REPORT = [
    ("Treasurer's report", True),
    ("This report is for the board. It is not to be shared with contractors.", False),
    (
        "It covers the business year 2025 and looks ahead to 2026. The books were closed on 12 January and checked by "
        "the two auditors, who had no objections.",
        False,
    ),
    ("Roof repair", True),
    ("The budget for the roof repair is 84,500 euros, of which 12,000 euros are held back for surprises.", False),
    ("Three offers came in. The lowest, from Dachbau Petersen, was 79,300 euros including scaffolding.", False),
    (
        "Petersen asks for a third in advance, which we should refuse: ten per cent on signing and the rest after "
        "acceptance is usual. A subsidy of the city for insulation has been applied for and is not counted here.",
        False,
    ),
    ("Reserves", True),
    ("The reserve fund stood at 131,240 euros at the end of February 2026.", False),
    ("The loan for the heating is paid back in full by June 2029.", False),
    (
        "Two households were behind with their rent by more than a month. With both a plan of instalments was agreed, "
        "and no legal steps are needed.",
        False,
    ),
    ("Rents", True),
    (
        "The rent rises by 12 cents per square metre from July 2026, less than the general rise of prices. The deposit "
        "of new members remains 1,800 euros and may be paid in six instalments.",
        False,
    ),
]

WORKS_DIARY = [
    ("Works diary", True),
    ("Notes of the caretaker on repairs in Linden House.", False),
    (
        "I write down what was done, by whom and what remains, so that whoever stands in for me finds his way.",
        False,
    ),
    ("Roof repair", True),
    ("I was told that the budget for the roof repair is 70,000 euros at most; the board decides in April.", False),
    ("The tiles over flat 12 leak when the wind comes from the west. A tarpaulin holds for now.", False),
    (
        "The scaffolding will stand on the side of the yard. Before it comes, the bicycles must be moved and the "
        "washing lines taken down; I put up notices two weeks ahead.",
        False,
    ),
    ("Boiler", True),
    ("The pressure of the boiler must be between 1.5 and 2 bar. It was topped up on the third of February.", False),
    (
        "The pump hums at night since the new year. The fitter from Wärme Weser listened to it on the telephone and "
        "thinks of air in the pipe; he comes on the ninth of March and brings a spare one.",
        False,
    ),
    ("Small jobs", True),
    (
        "The handrail between the second and third floor was loose and has new screws. The door closer of the cellar "
        "was set slower, because it had shut on a pram. The light in the bicycle cellar flickers: bulb changed, if it "
        "comes back it is the switch. Gravel for the path is ordered, two cubic metres.",
        False,
    ),
]

CONTACTS = [
    ("Role", "Name", "Telephone", "Hours", "Remarks"),
    ("Caretaker", "Bob Ahlers", "0421 555 0142", "Monday to Thursday, 8 to 12", "office beside the main entrance"),
    ("Treasurer", "Alice Brandt", "0421 555 0187", "by appointment", "questions about rent and deposits"),
    ("Chairwoman", "Mira Osei", "0421 555 0133", "Wednesday, 18 to 20", "speaks for the board"),
    ("Deputy caretaker", "Jonas Meinert", "0421 555 0164", "when the caretaker is away", "lives in flat 3"),
    ("Lift emergency", "Aufzug Weser", "0421 555 0199", "day and night", "say the number on the plate in the cabin"),
    ("Heating emergency", "Wärme Weser", "0421 555 0175", "day and night", "from October to April within two hours"),
    ("Water damage", "Rohrdienst Harms", "0421 555 0128", "day and night", "close the stopcock in the bathroom first"),
    ("Electrician", "Elektro Janssen", "0421 555 0151", "Monday to Friday, 7 to 16", "only through the caretaker"),
    ("Chimney sweep", "Karin Tietjen", "0421 555 0119", "by appointment", "comes in March and in September"),
    ("Waste collection", "City of Bremen", "0421 555 0110", "Tuesday and Friday", "bulky waste must be registered"),
    ("Laundry room", "Household 7", "0421 555 0146", "evenings", "keeps the list and the spare filter"),
    ("Garden group", "Lea Sanders", "0421 555 0158", "Saturday mornings", "tools are in the shed behind the garages"),
    ("Guest flat", "Household 2", "0421 555 0193", "until 21 o'clock", "keys and bed linen"),
]

MEETING = [
    (
        "Annual meeting 2026",
        [
            "The annual meeting is on 18 April 2026 at 17:00 in the laundry room.",
            "Coffee and cake from half past four; who brings what is on the list beside the letter boxes.",
            "Every household has one vote. A household that cannot come may give its vote to another one in writing.",
        ],
    ),
    (
        "Decisions to take",
        [
            "Roof repair: yes or no, and when.",
            "New bicycle shed behind the garages.",
            "Guest flat: 25 euros a night.",
            "Sharing a delivery bicycle with the house across the street.",
        ],
    ),
    (
        "Elections",
        [
            "Two seats on the board are vacant.",
            "Candidates tell the chairwoman, Mira Osei, by 4 April.",
            "One auditor leaves after six years and cannot be elected again.",
            "The board meets on the second Tuesday of each month; a seat takes about four hours a month.",
        ],
    ),
    (
        "What became of last year's decisions",
        [
            "The letter boxes were replaced in June and are now wide enough for parcels.",
            "The fruit trees by the north wall were planted in November.",
            "The stairwell could not be painted: both firms that were asked had no time before summer.",
            "Minutes are sent to all members within two weeks after the meeting.",
        ],
    ),
]

GARDEN = [
    (
        "The yard",
        "The chestnut in the yard was planted in 1931 by the first tenants. It must not be pruned before October. "
        "The bench around its trunk was built by the members in 1998 and is oiled every second spring. Children may "
        "play in the yard all day; ball games end at eight in the evening.",
    ),
    (
        "Beds",
        "Each household may tend one raised bed. Beds that lie fallow until the end of May go to the next on the list. "
        "Compost is free: it lies behind the shed, the ripe heap is the left one. Potatoes and tomatoes should not "
        "stand in the same bed two years running, since both suffer from blight.",
    ),
    (
        "Water",
        "The rain barrel holds 400 litres. In dry summers the beds are watered after eight in the evening only. The "
        "tap at the garages is opened after the last frost, usually in mid April, and closed in October.",
    ),
    (
        "Bees",
        "Two hives stand on the flat roof of the garages. The bees belong to Lea Sanders, who harvests about 30 "
        "kilograms of honey in July; every household gets one jar. Please do not plant double-flowered dahlias, which "
        "offer them nothing.",
    ),
]


def write_texts() -> None:
    """The formats that are text."""
    for name, text in TEXTS.items():
        write(name, text)


TEXTS = {
    "shared/house-rules.md": """# House rules of Linden House

## Quiet hours
Quiet hours are from 22:00 to 7:00, and on Sundays and public holidays all day. Drilling is allowed on working days
between 9:00 and 17:00. Whoever plans a party puts up a note a week before and closes the windows at ten.

## Laundry room
Every household has the laundry room for four hours a week; the list hangs on its door. The machines take washing up to
8 kilograms. Please clean the lint filter after each use. A wash costs 1.20 euros, the dryer 80 cents; both are settled
with the service charges in December.

## Guests and pets
Guests may stay for up to six weeks without notice to the board. Dogs are welcome on a lead; cats need no permission.
Aquariums over 200 litres need the caretaker's word on what the floor can bear.

## Stairwell
The stairwell is cleaned by the households of each floor in turn, every Saturday. Shoes and umbrellas stay inside the
flats. The front door is locked from nine in the evening; please do not wedge it open.

## Lift
The lift is serviced twice a year; the next date is 21 April 2026, from eight to twelve. It carries six persons or 450
kilograms. In an emergency press the yellow button for three seconds: somebody answers day and night.

## Moving in and out
Tell the caretaker two weeks ahead, so that the lift is lined with boards. Flats are handed over swept and with all
keys. A lost key of the front door costs 60 euros, because it also opens the cellar.
""",
    "shared/hausordnung-kurz.txt": """Hausordnung, kurze Fassung

Die Mülltonnen werden dienstags und freitags geleert. Papier kommt in die blaue Tonne, Glas in den Container an der
Ecke Lindenstraße. Sperrmüll muss bei der Stadt angemeldet werden; der nächste Termin ist der 14. Mai 2026.

Im Winter räumt jede Wohnung eine Woche lang den Schnee vor dem Haus, und zwar bis sieben Uhr morgens.
Der Plan dafür hängt im Treppenhaus neben den Briefkästen. Streugut steht in der grünen Kiste am Tor; Salz ist in der
Stadt nicht erlaubt.

Fahrräder gehören in den Keller und nicht in den Hausflur, denn er ist der einzige Fluchtweg. Kinderwagen dürfen unter
der Treppe stehen, solange die Kellertür frei bleibt. Räder ohne Namensschild werden im Herbst eingesammelt und nach
drei Monaten verschenkt.

Wer länger als zwei Wochen verreist, sagt dem Hausmeister, wer die Blumen gießt und im Notfall in die Wohnung kommt.
Bei einem Rohrbruch wird zuerst der Haupthahn geschlossen, er sitzt im Keller links neben dem Zähler.

Geheizt wird von Oktober bis April. Bitte stoßlüften statt die Fenster zu kippen: Das spart Wärme und verhindert
Schimmel in den Ecken.
""",
    "shared/energy-use.csv": """month;electricity in kWh;heating in MWh;water in cubic metres;remark
2025-03;2040;47.3;214;
2025-04;1870;33.5;209;
2025-05;1710;14.2;221;heating off from 12 May
2025-06;1630;4.1;238;
2025-07;1580;3.8;246;hottest July since records began
2025-08;1600;3.9;241;
2025-09;1690;9.7;224;
2025-10;1840;31.2;212;heating on from 3 October
2025-11;1990;44.8;205;
2025-12;2210;58.1;219;"lights in the yard, all night"
2026-01;2305;63.4;208;coldest week at minus 11 degrees
2026-02;2080;55.9;198;
""",
    "shared/neighbourhood.html": """<!DOCTYPE html>
<html lang="en"><head><title>The neighbourhood of Linden House</title></head>
<body><h1>Getting here</h1><p>Tram line 4 stops at Lindenplatz, three minutes on foot. The night bus N7 runs every
hour until four in the morning. Two cars for sharing stand in Gartenstraße; members get the first month free. By bicycle
it is ten minutes to the main station along the river.</p>
<h2>Shops</h2><p>The bakery Kornblume opens at six. The weekly market is on
Saturdays from eight to one on the church square. The grocer Yildiz orders what he does not have within a day, and
takes parcels in for neighbours.</p>
<h2>Doctors and chemists</h2><p>Dr Hansen, general practitioner, has her rooms above the savings bank and sees patients
without appointment from eight to ten. The chemist in Brunnenstraße is open until half past seven.</p>
<h2>For children</h2><p>The playground behind the school was renewed last year and has a fence. The library lends games
as well as books; its reading hour is on Thursdays at four. The music school gives trial lessons in September.</p>
<h2>Repairing things</h2><ul><li>The repair café meets on the last Sunday of the month in the community hall.</li>
<li>Bicycles are mended at Speiche 12, usually by the next day.</li></ul></body></html>
""",
    "alice/insurance.eml": """From: Weserland Insurance <service@weserland.example>
To: Alice Brandt <alice@linden.example>
Subject: Your building insurance for 2026
Date: Mon, 2 Mar 2026 09:00:00 +0100
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Dear Ms Brandt,

the yearly premium of your building insurance is 6,418 euros from April 2026. Damage by storm and hail is covered with
an excess of 1,000 euros. Your policy number is WL-20-7741.

As you asked on the telephone: water that comes through a roof which is known to leak is covered only if the leak was
reported to us within a week, and if you did what could be expected to limit the damage. A tarpaulin is enough for
that. Please send us two photographs and the date on which it was put up.

While scaffolding stands at the house, burglary through windows on the upper floors is covered as before, provided that
the scaffolding has no ladder at night. Your contractor should confirm this in writing.

The sum insured was raised by 3.1 per cent to follow the prices of building work. If you do not agree, you may object
within four weeks. The premium is debited on 1 April from the account ending in 204.

Kind regards
Weserland Insurance
""",
    "bob/key-list.rtf": r"""{\rtf1\ansi\deff0{\fonttbl{\f0 Helvetica;}}
{\b Keys kept by the caretaker}\par
The key of the boiler room hangs behind the second meter box.\par
Flat 9 has left a spare key in envelope 31. The attic is opened with the brass key number 7.\par
Envelopes 1 to 40 are in the grey cabinet; its own key is on my ring. Every envelope is sealed and signed across the
flap by the tenant. It is opened only in an emergency, with a witness, and the tenant is told on the same day.\par
Number 7 attic, number 8 lift machinery, number 9 bicycle cellar, number 10 garden shed, number 11 garages. Number 12 is
missing since January and was for the old letter boxes, so it need not be replaced.\par
The firm Aufzug Weser has its own key for the lift machinery. The chimney sweep gets number 7 for the day and signs for
it. Contractors bring keys back before four in the afternoon.\par
When I am away, Jonas Meinert in flat 3 keeps the ring. He has no key of the grey cabinet: the board opens it for
him.\par
}
""",
    "bob/auftraege.txt": """Aufträge des Hausmeisters

Der Aufzug wird am 21. April 2026 gewartet; er steht dann von acht bis zwölf Uhr still.
Die Regenrinne an der Nordseite ist zu reinigen, sobald das Gerüst für das Dach steht.
Der Elektriker Janssen tauscht die Lampen im Keller gegen solche mit Bewegungsmelder.

In Wohnung 5 tropft der Hahn in der Küche; die Dichtung ist bestellt und kommt in der zwölften Woche. Frau Sander in
Wohnung 8 bittet um einen zweiten Handlauf im Bad, die Kosten trägt zur Hälfte die Pflegekasse.

Die Haustür fällt seit dem Frost nicht mehr von allein ins Schloss. Ich habe das Schließblech gerichtet und schaue in
einer Woche noch einmal nach. Hilft es nicht, muss der Tischler kommen.

Für den Spielplatz im Hof fehlen zwei Kubikmeter Sand. Angebot eingeholt: 96 Euro mit Lieferung, der Vorstand ist
einverstanden. Die Schaukel ist geprüft, die Plakette gilt bis März 2028.

Noch offen aus dem Winter: Riss im Pflaster vor der Garage 4, lose Fliese in der Waschküche, Farbe für das Geländer.
""",
}


if __name__ == "__main__":
    main()
