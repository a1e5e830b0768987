"""What people see: live progress, tables, and the figures and page of an ensemble."""
