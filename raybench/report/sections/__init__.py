"""One file per question of the report; each function maps `ReportData` to the parts of one section."""
