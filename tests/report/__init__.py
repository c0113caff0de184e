"""What people read: tables, sentences and files, from samples that are written down here."""
