// Package local runs an App in one process on one SQLite file: for development,
// tests and small installations. [Open] is for programs that embed it, [Main] is
// a whole command line program.
package local
