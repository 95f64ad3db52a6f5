"""Command lines: `clawportal` for the server, `claw` for people and scripts that use a portal."""
