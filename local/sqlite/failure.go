package sqlite

import (
	"context"
	"fmt"
	"sync"

	lib "modernc.org/sqlite/lib"
)

// failure is the first error after which a provider must not go on. It is safe for
// concurrent use.
type failure struct {
	ctx context.Context // its cause is the error
	set context.CancelCauseFunc
}

func newFailure() *failure {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &failure{ctx, cancel}
}

// get returns nil if there is no failure.
func (f *failure) get() error { return context.Cause(f.ctx) }

// Failed returns a context that ends when the provider has failed for good: it is
// unknown what of the last writes is in the file, or the file is no longer the one at
// its path. Every later write fails. End the process, as package local does: the next
// Open reads what is really on the disk.
func (p *Provider) Failed() context.Context { return p.failure.ctx }

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
