"""What plugin authors test with: conformance suites and small real stand-ins. Import the modules by name."""
