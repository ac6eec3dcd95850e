package local

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
)

// Main is a complete command line program that runs app in one process on one SQLite
// file; its help describes the commands. It ends the process with status 1 after an
// error, and with status 74 after a failure of the store (see [Host.Failed]), within 10
// seconds.
func Main(app *reventless.App, opts *Options) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program immediately
	err := newCommand(app, opts, exit).ExecuteContext(ctx)
	stop()
	if err != nil {
		exit(err)
	}
}

const (
	statusError = 1
	// statusStoreFailed is EX_IOERR of sysexits.h.
	statusStoreFailed = 74
	// maxEnding is how long a program may take to end after its store has failed.
	maxEnding = 10 * time.Second
)

// storeFailed is the error of a program whose store has failed.
type storeFailed struct{ error }

// exit ends the process after an error.
func exit(err error) {
	status := statusError
	if errors.As(err, &storeFailed{}) {
		status = statusStoreFailed
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(status)
}

// program is what the commands share.
type program struct {
	app  *reventless.App
	opts Options
	data string
	json bool

	logLevel string
	exit     func(error) // ends the process without waiting for anything
}

func newCommand(app *reventless.App, opts *Options, exit func(error)) *cobra.Command {
	p := &program{app: app, exit: exit}
	if opts != nil {
		p.opts = *opts
	}
	root := &cobra.Command{
		Use:           filepath.Base(os.Args[0]),
		Short:         "Run " + app.Name() + " in one process, on one SQLite file",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&p.data, "data", env(envData, app.Name()+".db"), "the database file")
	root.PersistentFlags().BoolVar(&p.opts.SQLite.AcceptLoss, "accept-loss", false, "open a file whose write-ahead log is missing or damaged, without the commits that are lost; for one call")
	root.PersistentFlags().StringVar(&p.logLevel, "log-level", env(envLogLevel, "warn"), "the lowest level that is logged to standard error: debug, info, warn or error")
	add := func(c *cobra.Command, withJSON bool) {
		if withJSON {
			c.Flags().BoolVar(&p.json, "json", false, "print JSON, one object a line")
		}
		root.AddCommand(c)
	}
	add(p.runCommand(), false)
	if p.opts.Seed != nil {
		add(p.seedCommand(), false)
	}
	add(p.showCommand(), true)
	add(p.sendCommand(), true)
	add(p.eventsCommand(), true)
	add(p.parkedCommand(), true)
	add(p.rebuildCommand(), false)
	add(p.lagCommand(), false)
	add(p.verifyCommand(), false)
	add(p.topologyCommand(), false)
	add(p.schemaCommand(), false)
	if p.opts.Licences != "" {
		add(p.licencesCommand(), false)
	}
	return root
}

// with opens the host, starts it if start is true, calls f, and closes the host. When the
// store fails, it ends c's context.
func (p *program) with(c *cobra.Command, start bool, f func(*Host) error) (err error) {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	c.SetContext(ctx)
	if p.opts.Logger == nil {
		if p.opts.Logger, err = logger(os.Stderr, p.logLevel); err != nil {
			return err
		}
	}
	h, err := Open(ctx, p.app, p.data, &p.opts)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer func() {
		err = errors.Join(err, h.Close())
		close(ended)
		if failure := h.Failure(); failure != nil {
			err = storeFailed{failure} // the other errors follow from it
		}
	}()
	go func() {
		select {
		case <-ended:
			return
		case <-h.Failed():
		}
		cancel()
		select {
		case <-ended:
		case <-time.After(maxEnding):
			p.exit(storeFailed{h.Failure()}) // application code may not return
		}
	}()
	if start {
		if err := h.Start(ctx); err != nil {
			return err
		}
	}
	return f(h)
}

func (p *program) seed(ctx context.Context, h *Host, path string, out io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	if err := p.opts.Seed(ctx, h, file, out); err != nil {
		return fmt.Errorf("seed from %s: %w", path, err)
	}
	return h.WaitIdle(ctx)
}

func (p *program) licencesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "licences",
		Short: "Print the licences of what is linked into this program",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), p.opts.Licences)
			return err
		},
	}
}

func (p *program) seedCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "seed FILE",
		Short: "Fill the application from a file; repeating it changes nothing",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, true, func(h *Host) error {
				if err := p.seed(c.Context(), h, args[0], c.OutOrStdout()); err != nil {
					return err
				}
				return h.summary(c.Context(), c.OutOrStdout())
			})
		},
	}
}

// summary prints the number of rows of each read model.
func (h *Host) summary(ctx context.Context, out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "read model\trows\tfirst row")
	for name, d := range h.host.App().All {
		if d.ReadModel == nil || strings.HasPrefix(name, component.PlatformPlugin+".") {
			continue
		}
		n, first := 0, ""
		for r, err := range h.Rows(ctx, name, "") {
			if err != nil {
				return err
			}
			if n++; n == 1 {
				first = string(r.Data)
			}
		}
		if runes := []rune(first); len(runes) > 100 {
			first = string(runes[:97]) + "..."
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", name, n, first)
	}
	letters, err := h.Parked(ctx, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "parked\t%d\t\n", len(letters))
	return w.Flush()
}

func (p *program) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show READMODEL [ID]",
		Short: "Print the rows of a read model",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, false, func(h *Host) error {
				id := ""
				if len(args) == 2 {
					id = args[1]
				}
				var rows []driver.Row
				for r, err := range h.Rows(c.Context(), args[0], id) {
					if err != nil {
						return err
					}
					rows = append(rows, r)
				}
				slices.SortFunc(rows, func(a, b driver.Row) int {
					return strings.Compare(a.Key.String(), b.Key.String())
				})
				if p.json {
					out := bufio.NewWriter(c.OutOrStdout())
					for _, r := range rows {
						line, err := rowLine(r)
						if err != nil {
							return err
						}
						_, _ = out.Write(line) // Flush reports it
					}
					return out.Flush()
				}
				_, d, err := h.find(args[0], "read model", func(d *component.Definition) bool { return d.ReadModel != nil })
				if err != nil {
					return err
				}
				return printTable(c.OutOrStdout(), d.ReadModel, rows)
			})
		},
	}
}

// rowLine returns a row as JSON with its id as the first member, unless the row itself
// has a field id.
func rowLine(r driver.Row) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.Data, &fields); err != nil {
		return nil, fmt.Errorf("row %q: %w", r.ID, err)
	}
	if _, ok := fields["id"]; ok {
		return append(slices.Clip(r.Data), '\n'), nil
	}
	id, err := json.Marshal(r.ID)
	if err != nil {
		return nil, fmt.Errorf("row %q: %w", r.ID, err)
	}
	line := append([]byte(`{"id":`), id...)
	if len(fields) > 0 {
		line = append(line, ',')
	}
	line = append(line, bytes.TrimLeft(bytes.TrimSpace(r.Data)[1:], " \t\r\n")...)
	return append(line, '\n'), nil
}

// printTable prints rows with a column per field, in the order of the row's type.
func printTable(out io.Writer, m *component.ReadModel, rows []driver.Row) error {
	var columns []string
	for f := range m.Row.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		if f.IsExported() && name != "-" {
			columns = append(columns, name)
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "id\t"+strings.Join(columns, "\t"))
	for _, r := range rows {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(r.Data, &fields); err != nil {
			return fmt.Errorf("row %q: %w", r.ID, err)
		}
		cells := []string{r.ID}
		for _, name := range columns {
			cell := string(fields[name])
			var text string
			if json.Unmarshal(fields[name], &text) == nil {
				cell = strings.Map(func(r rune) rune {
					if r < ' ' {
						return ' '
					}
					return r
				}, text)
			}
			if runes := []rune(cell); len(runes) > 60 {
				cell = string(runes[:57]) + "..."
			}
			cells = append(cells, cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

func (p *program) sendCommand() *cobra.Command {
	var commandID string
	c := &cobra.Command{
		Use:   "send PLUGIN AGGREGATE COMMAND ID [JSON]",
		Short: "Send one command and print its outcome",
		Args:  cobra.RangeArgs(4, 5),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, true, func(h *Host) error {
				var data []byte
				if len(args) == 5 {
					data = []byte(args[4])
				}
				o, err := h.SendJSON(c.Context(), commandID, args[0]+"."+args[1], args[2], args[3], data)
				if err != nil {
					return err
				}
				if err := h.WaitIdle(c.Context()); err != nil {
					return err
				}
				if o.Kind == driver.Pending {
					if o, err = h.Outcome(c.Context(), o.Target, o.CommandID); err != nil {
						return err
					}
				}
				if p.json {
					return json.NewEncoder(c.OutOrStdout()).Encode(o)
				}
				switch o.Kind {
				case driver.Rejected:
					fmt.Fprintf(c.OutOrStdout(), "Rejected: %s (command %s)\n", o.Message, o.CommandID)
				default:
					fmt.Fprintf(c.OutOrStdout(), "%s: %d events at %d (command %s)\n", o.Kind, o.EventCount, o.SequenceNr, o.CommandID)
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&commandID, "command-id", "", "the idempotency key; empty means a new id")
	return c
}

func (p *program) eventsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "events AGGREGATE ID",
		Short: "Print the events of an entity",
		Args:  cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, false, func(h *Host) error {
				out := c.OutOrStdout()
				for commit, err := range h.Events(c.Context(), args[0], args[1]) {
					if err != nil {
						return err
					}
					for i, e := range commit.Events {
						if p.json {
							line, err := json.Marshal(eventLine{commit.Stream, commit.SequenceNr, i, e.Type, e.Version, e.Data, commit.RecordedAt.Format("2006-01-02T15:04:05.000Z07:00")})
							if err != nil {
								return err
							}
							fmt.Fprintf(out, "%s\n", line)
							continue
						}
						fmt.Fprintf(out, "%d.%d  %s  %s %s\n", commit.SequenceNr, i, commit.RecordedAt.Format("2006-01-02 15:04:05"), e.Type, e.Data)
					}
				}
				return nil
			})
		},
	}
}

type eventLine struct {
	ID         string          `json:"id"`
	SequenceNr uint64          `json:"sequenceNr"`
	Index      int             `json:"index"`
	Type       string          `json:"type"`
	Version    int             `json:"version"`
	Data       json.RawMessage `json:"data"`
	RecordedAt string          `json:"recordedAt"`
}

func (p *program) parkedCommand() *cobra.Command {
	var redrive, discard []string
	var all bool
	c := &cobra.Command{
		Use:   "parked [COMPONENT]",
		Short: "List parked messages, and redrive or discard them",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, true, func(h *Host) error {
				component := ""
				if len(args) == 1 {
					component = args[0]
				}
				letters, err := h.Parked(c.Context(), component)
				if err != nil {
					return err
				}
				if all {
					for _, l := range letters {
						redrive = append(redrive, l.ID)
					}
				}
				var errs []error
				for _, id := range redrive {
					errs = append(errs, h.Redrive(c.Context(), id))
				}
				for _, id := range discard {
					errs = append(errs, h.Discard(c.Context(), id))
				}
				if len(redrive)+len(discard) > 0 {
					errs = append(errs, h.WaitIdle(c.Context()))
					if letters, err = h.Parked(c.Context(), component); err != nil {
						return err
					}
				}
				return errors.Join(append(errs, p.printLetters(c.OutOrStdout(), letters))...)
			})
		},
	}
	c.Flags().StringArrayVar(&redrive, "redrive", nil, "handle the dead letter with this id again")
	c.Flags().StringArrayVar(&discard, "discard", nil, "delete the dead letter with this id, and skip its message")
	c.Flags().BoolVar(&all, "redrive-all", false, "handle all listed dead letters again")
	return c
}

func (p *program) printLetters(out io.Writer, letters []driver.DeadLetter) error {
	if p.json {
		enc := json.NewEncoder(out)
		for _, l := range letters {
			if err := enc.Encode(letterLine{l.ID, l.Component, string(l.Kind), l.Log, l.Stream, l.SequenceNr, l.Reason, l.Attempts, string(l.Body)}); err != nil {
				return err
			}
		}
		return nil
	}
	if len(letters) == 0 {
		fmt.Fprintln(out, "Nothing is parked.")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "letter\tcomponent\tkind\tattempts\tparked\treason")
	for _, l := range letters {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.Component, l.Kind, l.Attempts, l.ParkedAt.Format("2006-01-02 15:04:05"), l.Reason)
	}
	return w.Flush()
}

type letterLine struct {
	ID         string `json:"id"`
	Component  string `json:"component"`
	Kind       string `json:"kind"`
	Log        string `json:"log,omitempty"`
	Stream     string `json:"stream,omitempty"`
	SequenceNr uint64 `json:"sequenceNr,omitempty"`
	Reason     string `json:"reason"`
	Attempts   int    `json:"attempts"`
	Body       string `json:"body,omitempty"`
}

func (p *program) rebuildCommand() *cobra.Command {
	cancel := false
	c := &cobra.Command{
		Use:   "rebuild READMODEL",
		Short: "Rebuild a read model from the event logs; the old rows are served until the end",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return p.with(c, !cancel, func(h *Host) error {
				if cancel {
					return h.CancelRebuild(c.Context(), args[0])
				}
				var last Rebuild
				shown := time.Now() //nolint:forbidigo // progress for a person
				err := h.Rebuild(c.Context(), args[0], func(r Rebuild) {
					if last = r; time.Since(shown) > 5*time.Second { //nolint:forbidigo // progress for a person
						shown = time.Now() //nolint:forbidigo // progress for a person
						fmt.Fprintf(c.OutOrStdout(), "%d of %d commits, %.0f a second\n", r.Done, r.Total, r.Rate)
					}
				})
				if err == nil {
					fmt.Fprintf(c.OutOrStdout(), "%s is rebuilt from %d commits.\n", args[0], last.Done)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&cancel, "cancel", false, "end a rebuild that was stopped, and keep the old rows")
	return c
}

func (p *program) topologyCommand() *cobra.Command {
	var mermaid bool
	c := &cobra.Command{
		Use:   "topology",
		Short: "Print the application as JSON, or as a Mermaid diagram",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t := p.app.Topology()
			if mermaid {
				_, err := io.WriteString(c.OutOrStdout(), t.Mermaid())
				return err
			}
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(t)
		},
	}
	c.Flags().BoolVar(&mermaid, "mermaid", false, "print a Mermaid flow chart")
	return c
}

// line is one command on standard input; outcomeLine is its result.
type line struct {
	Aggregate string          `json:"aggregate"`
	Command   string          `json:"command"`
	ID        string          `json:"id"`
	CommandID string          `json:"commandId"`
	Data      json.RawMessage `json:"data"`
}

type outcomeLine struct {
	*message.Outcome
	// CommandID is that of the line, so that a failure can be matched to its line.
	CommandID string `json:"commandId"`
	Error     string `json:"error,omitempty"`
}

// maxLines is the maximum number of lines that are handled at the same time.
const maxLines = 64

// serveLines handles commands concurrently. It prints each outcome as soon as it is
// known, which is after the command is durable. When ctx is done it reads no more lines,
// and answers those that it has read.
func (h *Host) serveLines(ctx context.Context, in io.Reader, out io.Writer) error {
	lines, failed := readLines(ctx, in)
	work, stop := h.untilFailed(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	enc := json.NewEncoder(out)
	limit := make(chan struct{}, maxLines)
	for {
		select {
		case <-ctx.Done():
			return nil
		case text, more := <-lines:
			if !more {
				wg.Wait()
				if err := <-failed; err != nil {
					return fmt.Errorf("standard input: %w", err)
				}
				if err := h.WaitIdle(ctx); ctx.Err() == nil {
					return err
				}
				return nil // stopped: the rest continues after the next start
			}
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				answer := h.answerLine(work, text)
				mu.Lock()
				defer mu.Unlock()
				_ = enc.Encode(answer) // the reader may have closed standard output
			})
		}
	}
}

// readLines returns the lines that are not empty, and then the error of in. A read cannot
// be interrupted: when ctx is done, its goroutine remains until the read ends.
func readLines(ctx context.Context, in io.Reader) (<-chan []byte, <-chan error) {
	lines, failed := make(chan []byte), make(chan error, 1)
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, 4<<20)
		defer func() {
			failed <- scanner.Err()
			close(lines)
		}()
		for scanner.Scan() {
			if len(bytes.TrimSpace(scanner.Bytes())) == 0 {
				continue
			}
			select {
			case lines <- bytes.Clone(scanner.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines, failed
}

func (h *Host) answerLine(ctx context.Context, text []byte) outcomeLine {
	var l line
	err := json.Unmarshal(text, &l)
	if err == nil && !utf8.Valid(text) {
		// Decoding replaces invalid bytes, so the text would change.
		err = fmt.Errorf("the line is not valid UTF-8: %w", driver.ErrInvalid)
	}
	if err != nil {
		return outcomeLine{CommandID: l.CommandID, Error: err.Error()}
	}
	o, err := h.SendJSON(ctx, l.CommandID, l.Aggregate, l.Command, l.ID, l.Data)
	if err != nil {
		return outcomeLine{CommandID: l.CommandID, Error: err.Error()}
	}
	return outcomeLine{Outcome: &o, CommandID: o.CommandID}
}
