package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	modernc "modernc.org/sqlite"
)

// conn is one connection with its prepared statements. One goroutine uses it at
// a time.
//
// It uses the driver's connection directly: the pooling and conversions of
// database/sql cost as much as a small statement. Statements run without the
// context of the call, because the driver would start a goroutine for each, and
// all statements here are short.
type conn struct {
	raw     sqldriver.Conn
	stmts   map[string]*stmt
	args    []sqldriver.NamedValue
	changed int64 // total rows changed by exec
}

type stmt struct {
	exec  sqldriver.StmtExecContext
	query sqldriver.StmtQueryContext
	close func() error
	row   []sqldriver.Value
}

// fileURI returns a SQLite URI for path with parameters.
func fileURI(path, parameters string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a Windows drive letter
	}
	return "file://" + (&url.URL{Path: p}).EscapedPath() + "?" + parameters
}

// connect opens a connection and applies pragmas.
func connect(uri string, pragmas ...string) (*conn, error) {
	connector, err := modernc.NewConnector(uri)
	if err != nil {
		return nil, err
	}
	raw, err := connector.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, stmts: map[string]*stmt{}}
	if err := c.apply(pragmas...); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// apply applies pragmas.
func (c *conn) apply(pragmas ...string) error {
	for _, p := range pragmas {
		if err := c.script("PRAGMA " + p); err != nil {
			return fmt.Errorf("pragma %s: %w", p, err)
		}
	}
	return nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.raw.Close())...)
}

// script runs statements without preparing them.
func (c *conn) script(text string) error {
	_, err := c.raw.(sqldriver.ExecerContext).ExecContext(context.Background(), text, nil)
	return err
}

// prepared returns the statement for text, prepared on first use. Statements are
// never evicted: the texts are constants or built from few parts.
func (c *conn) prepared(text string) (*stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	raw, err := c.raw.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", text, err)
	}
	s := &stmt{exec: raw.(sqldriver.StmtExecContext), query: raw.(sqldriver.StmtQueryContext), close: raw.Close}
	c.stmts[text] = s
	return s, nil
}

// named converts arguments to the driver's form. The result is valid until the
// next call.
func (c *conn) named(args []any) []sqldriver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, sqldriver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement and returns the number of changed rows and the last
// inserted row id. Arguments are int64, float64, string, []byte or nil.
func (c *conn) exec(text string, args ...any) (changed, last int64, err error) {
	s, err := c.prepared(text)
	if err != nil {
		return 0, 0, err
	}
	result, err := s.exec.ExecContext(context.Background(), c.named(args))
	if err != nil {
		return 0, 0, err
	}
	changed, _ = result.RowsAffected() // never fails in this driver
	last, _ = result.LastInsertId()
	c.changed += changed
	return changed, last, nil
}

// control runs a transaction or savepoint statement. Unlike exec it does not
// count changed rows: SQLite would report those of the previous statement again.
func (c *conn) control(text string) error {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	_, err = s.exec.ExecContext(context.Background(), nil)
	return err
}

// errStop, returned by a row callback, ends the query early without an error.
var errStop = errors.New("stop")

// query calls f for each row of the result until f returns an error or errStop.
// The row is valid only during the call. f must not run the same statement.
func (c *conn) query(text string, args []any, f func(row []sqldriver.Value) error) (err error) {
	s, err := c.prepared(text)
	if err != nil {
		return err
	}
	rows, err := s.query.QueryContext(context.Background(), c.named(args))
	if err != nil {
		return err
	}
	defer func() {
		// After a failed step, SQLite's reset returns the same error again.
		if e := rows.Close(); e != nil && err == nil {
			err = e
		}
	}()
	if s.row == nil {
		s.row = make([]sqldriver.Value, len(rows.Columns()))
	}
	for {
		switch err := rows.Next(s.row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(s.row); errors.Is(err, errStop) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// first calls f for the first row only; found is false if there is no row.
func (c *conn) first(text string, args []any, f func(row []sqldriver.Value) error) (found bool, err error) {
	err = c.query(text, args, func(row []sqldriver.Value) error {
		found = true
		if err := f(row); err != nil {
			return err
		}
		return errStop
	})
	return found, err
}

// integer returns the first column of the first row, or 0 for NULL or no row.
func (c *conn) integer(text string, args ...any) (n int64, err error) {
	_, err = c.first(text, args, func(row []sqldriver.Value) error {
		n = number(row[0])
		return nil
	})
	return n, err
}

// The column helpers return the zero value for NULL. Other types cannot occur:
// the tables are STRICT.
func number(v sqldriver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func text(v sqldriver.Value) string {
	s, _ := v.(string)
	return s
}

func blob(v sqldriver.Value) []byte {
	b, _ := v.([]byte)
	return b
}

// pool is a bounded set of read connections, opened on demand. It reuses the most
// recently used connection first, whose statements are prepared and cache is warm.
type pool struct {
	open  func() (*conn, error)
	slots chan struct{} // one element for each connection that is still available

	mu   sync.Mutex
	idle []*conn
}

func newPool(size int, open func() (*conn, error)) *pool {
	p := &pool{open: open, slots: make(chan struct{}, size)}
	for range size {
		p.slots <- struct{}{}
	}
	return p
}

// use runs f with a connection.
func (p *pool) use(ctx context.Context, f func(c *conn) error) error {
	select {
	case <-p.slots:
	default:
		select {
		case <-p.slots:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { p.slots <- struct{}{} }()
	c, err := p.get()
	if err != nil {
		return err
	}
	defer p.put(c)
	return f(c)
}

func (p *pool) get() (*conn, error) {
	p.mu.Lock()
	if n := len(p.idle) - 1; n >= 0 {
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	return p.open()
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// pause runs f while no connection is in use; other callers wait.
func (p *pool) pause(f func() error) error {
	for range cap(p.slots) {
		<-p.slots
	}
	defer func() {
		for range cap(p.slots) {
			p.slots <- struct{}{}
		}
	}()
	return f()
}

// close closes all connections; none may be in use.
func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}
