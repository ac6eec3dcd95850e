//go:build linux

package powerloss

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roleVariable makes the test binary run a role instead of the tests.
const roleVariable = "REVENTLESS_POWERLOSS_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "write":
		if err := writeRole(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "check":
		if err := checkRole(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		os.Exit(m.Run())
	}
}

// patience bounds how long a process waits for something. Only a failing test waits that
// long.
const patience = time.Minute

// life is what a writer does before its process ends. It reads it as JSON.
type life struct {
	Path string
	Name string // the ids of a life begin with it
	// Again are sent first, before the host is started.
	Again []string
	// Senders send commands at the same time, Count each, to their kind and entity.
	Senders []string
	Count   int
	// MaxFile is the size in bytes above which files cannot grow; 0 means any.
	MaxFile uint64
}

// writeRole runs one life. It prints the id of each command before it sends it, and an ack
// as JSON after it was acknowledged.
func writeRole() error {
	var l life
	if err := json.NewDecoder(os.Stdin).Decode(&l); err != nil {
		return err
	}
	if l.MaxFile > 0 { // a write across the limit is short, one behind it fails
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: l.MaxFile, Max: l.MaxFile}); err != nil {
			return err
		}
	}
	a := newApp()
	h, err := a.open(context.Background(), l.Path, os.Stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-h.Failed()
		cancel()
	}()
	w := &writer{life: l, app: a}
	for _, id := range l.Again {
		w.send(ctx, func(ctx context.Context) (ack, error) { return a.send(ctx, h, id) }, id)
	}
	if err := h.Start(ctx); err != nil {
		return errors.Join(err, h.Close())
	}
	var wg sync.WaitGroup
	for s, to := range l.Senders {
		wg.Go(func() {
			for i := range l.Count {
				id := fmt.Sprintf("%s/%s.%d.%d", to, l.Name, s, i)
				if !w.send(ctx, func(ctx context.Context) (ack, error) { return a.send(ctx, h, id) }, id) {
					return
				}
			}
		})
	}
	wg.Wait()
	err = h.Close()
	if h.Failure() != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(statusFailed)
	}
	return err
}

// statusFailed is the status of a writer whose store has failed for good.
const statusFailed = 74

type writer struct {
	life
	app *app

	mu     sync.Mutex
	failed int
}

// send prints id, sends it and prints its acknowledgement. It returns false if the store
// has failed for good.
func (w *writer) send(ctx context.Context, f func(context.Context) (ack, error), id string) bool {
	w.print("sent " + id)
	ctx, cancel := context.WithTimeout(ctx, time.Second) // a store may fail for good
	defer cancel()
	k, err := f(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, id, err)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed++
		return w.failed < 10
	}
	line, err := json.Marshal(k)
	if err != nil {
		panic(err)
	}
	w.print("ack " + string(line))
	return true
}

func (w *writer) print(line string) {
	if _, err := os.Stdout.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

// question is a line of input of the role "check": a database, what was acknowledged, and
// what was sent.
type question struct {
	Path string
	Acks []ack
	Sent []string
}

// checkRole checks databases, one for each line of input, and prints what is wrong with
// each, as JSON.
func checkRole() error {
	lines := json.NewDecoder(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		var q question
		if err := lines.Decode(&q); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		problem := ""
		if err := check(ctx, q.Path, q.Acks, q.Sent); err != nil {
			problem = err.Error()
		}
		cancel()
		if err := out.Encode(problem); err != nil {
			return err
		}
	}
}
