// Package powerloss has only tests: they record the system calls of a process that runs
// an App on SQLite, build the files that a power failure could leave behind at any
// moment, and open each of them again. Other tests let the system calls fail.
package powerloss
