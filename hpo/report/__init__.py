"""What people see: live progress and tables."""
