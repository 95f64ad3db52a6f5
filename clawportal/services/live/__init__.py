"""What people see and do in a running claw: chat, console, files, logs, measurements."""
