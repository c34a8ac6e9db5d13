"""Sets of labelled images, wherever they lie: folders, prepared records, or drawn here."""
