"""What plugin authors test with: a practice model server and conformance suites. Import the modules by name; this stays empty
so that starting the practice model costs nothing else."""
