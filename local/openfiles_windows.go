package local

// openFiles returns how many files the process may have open: there is no limit of
// practical use.
func openFiles() uint64 { return 2 * maxConnections }
