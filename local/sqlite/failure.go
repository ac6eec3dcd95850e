package sqlite

import (
	"fmt"
	"sync"

	lib "modernc.org/sqlite/lib"
)

// failure is the first error after which a provider must not go on. It is safe for
// concurrent use.
type failure struct {
	failed chan struct{} // closed by set

	mu  sync.Mutex
	err error
}

func newFailure() *failure { return &failure{failed: make(chan struct{})} }

// set records err, unless there is an earlier failure.
func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.failed)
	}
}

func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Failed returns a channel that is closed when the provider has failed for good: it is
// unknown what of the last writes is in the file, or the file is no longer the one at
// its path. Every later write fails. End the process, as package local does: the next
// Open reads what is really on the disk.
func (p *Provider) Failed() <-chan struct{} { return p.failure.failed }

// Failure returns why the provider has failed for good, and nil if it has not.
func (p *Provider) Failure() error {
	if err := p.failure.get(); err != nil {
		return fmt.Errorf("sqlite: %s has failed: %w", p.path, err)
	}
	return nil
}

// failed keeps the providers that were closed after a failure, see [Provider.keep].
var failed struct {
	sync.Mutex
	providers []*Provider
}

// keep leaves the connections and locks of a failed provider to the end of the process.
// Closing the last connection would write to the database and remove the write-ahead
// log by its name, although it is unknown what is on the disk or whose file has that
// name. The reference keeps the garbage collector from closing the descriptors.
func (p *Provider) keep() {
	failed.Lock()
	defer failed.Unlock()
	failed.providers = append(failed.providers, p)
}

// lost reports whether it is unknown after a SQLite error of the writer what is on the
// disk: the operating system may have dropped the data that it could not write, and
// the success of a later sync proves nothing about it.
func lost(err error, commit bool) bool {
	code, _ := resultCode(err)
	switch code {
	case lib.SQLITE_IOERR_FSYNC, lib.SQLITE_IOERR_DIR_FSYNC:
		return true
	}
	return commit && code&0xff == lib.SQLITE_IOERR
}
