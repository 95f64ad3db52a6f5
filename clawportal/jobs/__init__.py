"""Background work: functions that make one pass and can be called twice. The timer is in `runner`."""
