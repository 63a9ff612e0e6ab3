# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deployment plans from a conversation: rules read what is wanted, tools search catalogues; every price, name and id
of a plan comes from a row. A language model may help to read and to word; it decides no fact.
"""
