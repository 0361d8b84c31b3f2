"""Backup, restore and check of what an installation keeps: the rows in Postgres and the objects in the store,
together (docs/operations.md, docs/decisions/0022).

    python -m shared.backup take FOLDER [--keep N]
    python -m shared.backup list FOLDER
    python -m shared.backup verify FOLDER [--name NAME]
    python -m shared.backup restore FOLDER [--name NAME]
    python -m shared.backup check [--quick]

It needs `DATABASE_URL` (the owner's login) and the store's variables, and nothing but the API's image has.
"""
