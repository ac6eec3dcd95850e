package local

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

type (
	noteCommand interface{ message.Typed }
	noteEvent   interface{ message.Typed }

	write   struct{ Text string }
	archive struct{}
	wrote   struct{ Text string }
	filed   struct{}

	noteRow struct {
		Text  string `json:"text"`
		Filed bool   `json:"filed"`
	}
)

func (write) MessageType() string   { return "Write" }
func (archive) MessageType() string { return "Archive" }
func (wrote) MessageType() string   { return "Wrote" }
func (filed) MessageType() string   { return "Filed" }

// notebook is the program with one file and an App whose projection the test can
// change and break.
type notebook struct {
	t             *testing.T
	app           *reventless.App
	path          string
	shout, broken bool
}

func newNotebook(t *testing.T) *notebook {
	t.Helper()
	b := &notebook{t: t, path: filepath.Join(t.TempDir(), "notebook.db")}
	of := func(name string, async bool) *aggregate.Aggregate[bool, noteCommand, noteEvent] {
		return aggregate.New(aggregate.Spec[bool, noteCommand, noteEvent]{
			Name: name, Async: async,
			Commands: message.NewSet[noteCommand](write{}, archive{}), Events: message.NewSet[noteEvent](wrote{}, filed{}),
			Decide: func(isFiled bool, c noteCommand) ([]noteEvent, error) {
				w, writes := c.(write)
				switch {
				case isFiled && writes:
					return nil, message.Reject("AlreadyFiled")
				case isFiled:
					return nil, nil
				case writes:
					return []noteEvent{wrote(w)}, nil
				}
				return []noteEvent{filed{}}, nil
			},
			Evolve: func(isFiled bool, e noteEvent) bool { return isFiled || e == filed{} },
		})
	}
	note := of("Note", false)
	notes := readmodel.New(readmodel.Spec[noteRow]{Name: "Notes", Projections: readmodel.Projections[noteRow]{
		readmodel.On(note, func(e message.Event[noteEvent]) readmodel.Changes[noteRow] {
			w, writes := e.Data.(wrote)
			if b.broken && w.Text == "spoilt" {
				panic("the projection is broken")
			}
			if b.shout {
				w.Text = strings.ToUpper(w.Text)
			}
			return readmodel.UpdateOrCreate(e.EntityID, noteRow{}, func(r *noteRow) {
				if writes {
					r.Text = w.Text
				} else {
					r.Filed = true
				}
			})
		}),
	}})
	b.app = reventless.New("notebook", plugin.New(plugin.Spec{Name: "Book", Heartbeat: -1, Components: plugin.Components{note, of("Later", true), notes}}))
	return b
}

func (b *notebook) options() *Options {
	return &Options{
		Logger: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return 0 }, MaxAttempts: 3,
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC) },
	}
}

// run runs a command of the program and returns what it prints; an error is printed
// as Main does it.
func (b *notebook) run(stdin string, args ...string) string {
	b.t.Helper()
	c := newCommand(b.app, b.options(), nil)
	c.SetArgs(append([]string{"--data", b.path}, args...))
	var out strings.Builder
	c.SetOut(&out)
	c.SetIn(strings.NewReader(stdin))
	if err := c.ExecuteContext(b.t.Context()); err != nil {
		return out.String() + "error: " + err.Error() + "\n"
	}
	return out.String()
}

// prints compares what a command prints with want; runs of spaces count as one.
func (b *notebook) prints(want string, args ...string) {
	b.t.Helper()
	got := spaces.ReplaceAllString(b.run("", args...), " ")
	if want != "" {
		want += "\n"
	}
	if got != want {
		b.t.Errorf("%q prints\n%swant\n%s", args, got, want)
	}
}

var spaces = regexp.MustCompile(" +")

func TestCommandsPrintWhatTheyDid(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	send := func(id string, args ...string) []string {
		return append([]string{"send", "--command-id", id, "Book", "Note"}, args...)
	}
	b.prints(`{"kind":"Accepted","commandId":"1","entityId":"a","target":"Book.Note","sequenceNr":1,"eventCount":1}`, send("1", "Write", "a", `{"Text":"x"}`, "--json")...)
	for range 2 { // the second time it is answered with the recorded outcome
		b.prints("Accepted: 1 events at 1 (command 1)", send("1", "Write", "a", `{"Text":"x"}`)...)
	}
	b.prints("Accepted: 1 events at 2 (command 2)", send("2", "Archive", "a")...)
	b.prints("Accepted: 0 events at 2 (command 3)", send("3", "Archive", "a")...)
	b.prints("Rejected: AlreadyFiled (command 4)", send("4", "Write", "a", `{"Text":"y"}`)...)
	b.prints("Accepted: 1 events at 1 (command 5)", "send", "--command-id", "5", "Book", "Later", "Write", "l", `{"Text":"y"}`)
	if got := b.run("", "send", "Book", "Later", "Archive", "l"); !regexp.MustCompile(`^Accepted: 1 events at 2 \(command [0-9a-f-]{36}\)\n$`).MatchString(got) {
		t.Errorf("without a command id it prints %q", got)
	}
	b.prints("1.0 2026-01-02 03:04:05 Wrote {\"Text\":\"x\"}\n2.0 2026-01-02 03:04:05 Filed {}", "events", "Note", "a")
	b.prints(`{"id":"a","sequenceNr":1,"index":0,"type":"Wrote","version":1,"data":{"Text":"x"},"recordedAt":"2026-01-02T03:04:05.006Z"}
{"id":"a","sequenceNr":2,"index":0,"type":"Filed","version":1,"data":{},"recordedAt":"2026-01-02T03:04:05.006Z"}`, "events", "--json", "Book.Note", "a")
	b.prints("", "events", "Note", "none")
	b.prints("id text filed\na x true", "show", "Notes")
	b.prints("id text filed", "show", "Notes", "none")
	b.prints(`{"id":"a","text":"x","filed":true}`, "show", "--json", "Book.Notes", "a")

	b.shout = true
	b.prints("Notes is rebuilt from 2 commits.", "rebuild", "Notes")
	b.prints(`{"id":"a","text":"X","filed":true}`, "show", "--json", "Notes")

	h, err := Open(t.Context(), b.app, b.path, b.options()) // not started: it projects nothing
	if err == nil {
		_, err = h.SendJSON(t.Context(), "6", "Book.Note", "Write", "b", []byte(`{"Text":"z"}`))
		err = errors.Join(err, h.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	const lag = "\nBook.Notes Book.Note %s 0.0 false\n"
	if got := spaces.ReplaceAllString(b.run("", "lag"), " "); !strings.Contains(got, fmt.Sprintf(lag, "1")) {
		t.Errorf("lag prints %s, want one commit to project", got)
	}
	b.prints("Accepted: 0 events at 2 (command 7)", send("7", "Archive", "a")...) // the command send also runs the projections
	if got := spaces.ReplaceAllString(b.run("", "lag"), " "); !strings.Contains(got, fmt.Sprintf(lag, "0")) {
		t.Errorf("lag prints %s, want no commit to project", got)
	}
}

func TestParkedIsListedRedrivenAndDiscarded(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	b.broken = true
	const id = "commit/Book.Notes/Book.Note/"
	lines := map[string]string{}
	for _, n := range []string{"a", "b", "c"} {
		b.run("", "send", "Book", "Note", "Write", n, `{"Text":"spoilt"}`)
		lines[n] = "\n" + id + n + " Book.Notes Commit 3 2026-01-02 03:04:05 panic: the projection is broken"
	}
	head := "letter component kind attempts parked reason"
	b.prints(head+lines["a"]+lines["b"]+lines["c"], "parked")
	b.prints("Nothing is parked.", "parked", "Book.Later")
	if got, want := b.run("", "parked", "--json", "Book.Notes"), `{"id":"`+id+`c","component":"Book.Notes","kind":"Commit","log":"Book.Note","stream":"c","sequenceNr":1,"reason":"panic: the projection is broken","attempts":3}`; !strings.Contains(got, want) {
		t.Errorf("as JSON it prints %s, want %s", got, want)
	}
	// A redrive fails while the cause remains, and the message stays parked with the
	// reason.
	if got := spaces.ReplaceAllString(b.run("", "parked", "--redrive", id+"a"), " "); !strings.Contains(got, id+"a Book.Notes Commit 4") || !strings.Contains(got, "error: redrive "+id+"a") {
		t.Errorf("a redrive with the cause still there prints %s", got)
	}
	b.broken = false
	b.prints(head+lines["c"], "parked", "--redrive", id+"a", "--discard", id+"b")
	b.prints("id text filed\na spoilt false", "show", "Notes")
	b.prints("Nothing is parked.", "parked", "--redrive-all")
	b.prints("id text filed\na spoilt false\nc spoilt false", "show", "Notes")
}

// An error is one line of bounded length that names the problem and the valid names;
// the command has no effect.
func TestErrorsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	send := func(args ...string) []string { return append([]string{"send", "Book"}, args...) }
	const text = `{"Text":"x"}`
	long := strings.Repeat("x", 10<<10)
	for _, c := range []struct{ args, words []string }{
		{[]string{"send", "Boock", "Note", "Write", "a", text}, []string{"Boock.Note", "Book.Note"}},
		{send("Notes", "Write", "a", text), []string{"Book.Notes", "Book.Note"}},
		{send("Note", "Wright", "a", text), []string{"Book.Note", `"Wright"`, "Write, Archive"}},
		{send("Note", "Write", "a", `{"Text":`), []string{"Write", "JSON"}},
		{send("Note", "Write", "a", "{\"Text\":\"\xff\"}"), []string{"Write", "JSON"}},
		{send("Note", "Write", "a", `{"Text":7}`), []string{"Note", "Text", "number"}},
		{send("Note", "Write", "a", `[]`), []string{"Note", "array"}},
		{send("Note", "Write", "", text), []string{"Note", "id is empty"}},
		{send("Note", "Write", long, text), []string{"Note", "10240 bytes", "limit is 1024"}},
		{send("Note", "Write", "a\xffb", text), []string{"Note", `a\xffb`, "UTF-8"}},
		{send("Note", "Write", "a\nb", text), []string{"Note", `a\nb`, "control character"}},
		{send("--command-id", long, "Note", "Write", "a", text), []string{"Note", "command id", "10240 bytes"}},
		{send("Note"), []string{"arg"}},
		{[]string{"show", "Note"}, []string{`"Note"`, "Book.Notes"}},
		{[]string{"events", "Notes", "a"}, []string{`"Notes"`, "Book.Note"}},
		{[]string{"rebuild", "Note"}, []string{`"Note"`, "Book.Notes"}},
		{[]string{"parked", "--redrive", "letter"}, []string{"letter", "not found"}},
		{[]string{"parked", "--discard", "letter"}, []string{"letter", "not found"}},
		{[]string{"walk"}, []string{"walk"}},
		{[]string{"--data", filepath.Join(t.TempDir(), "no", "such", "file"), "show", "Notes"}, []string{"no"}},
	} {
		_, message, _ := strings.Cut(b.run("", c.args...), "error: ")
		if strings.Count(message, "\n") != 1 || len(message) > 2000 {
			t.Errorf("%.200q: the error is %.300q, want one line of bounded length", c.args, message)
		}
		for _, w := range c.words {
			if !strings.Contains(message, w) {
				t.Errorf("%.200q: the error is %.300q, want %q in it", c.args, message, w)
			}
		}
	}
	b.prints("", "events", "Note", "a")
	b.prints("id text filed", "show", "Notes")
}

func TestCommandsOnStandardInput(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	for _, c := range []struct{ line, want string }{
		{`{"commandId":"1","aggregate":"Note","command":"Write","id":"a","data":{"Text":"x"}}`, `"kind":"Accepted","entityId":"a","target":"Book.Note","sequenceNr":1`},
		{`  {"commandId":"1","aggregate":"Book.Note","command":"Write","id":"a","data":{"Text":"x"}}` + "\n\n", `"sequenceNr":1`},
		{`{"commandId":"2","aggregate":"Note","command":"Write","id":""}`, "id is empty"},
		{"{\"commandId\":\"3\",\"aggregate\":\"Note\",\"command\":\"Write\",\"id\":\"a\xffb\"}", "UTF-8"},
		{`{"commandId":"4","aggregate":"Note","command":"Fold","id":"c"}`, `\"Fold\"`},
		{`{"commandId":"5","aggregate":"Sock","command":"Write","id":"c"}`, `\"Sock\"`},
		{`{"commandId":"6","aggregate":"Note","command":"Archive","id":"a"}`, `"sequenceNr":2`},
		{`{"commandId":"7","aggregate":"Note","command":"Write","id":"a"}`, `"code":"AlreadyFiled"`},
		{`{"commandId":`, "JSON"},
	} {
		got := b.run(c.line+"\n", "run", "--stdin")
		id := regexp.MustCompile(`"commandId":"[0-9]"`).FindString(c.line)
		if strings.Count(got, "\n") != 1 || !strings.Contains(got, c.want) || !strings.Contains(got, id) {
			t.Errorf("%q is answered %q, want a line with %q and %q", c.line, got, id, c.want)
		}
	}
	// Many concurrent commands, with the API running: each line gets one answer.
	lines := ""
	for n := range 200 {
		lines += fmt.Sprintf(`{"commandId":"n%d","aggregate":"Note","command":"Write","id":"%d","data":{"Text":"x"}}`+"\n", n, n%7)
	}
	got := b.run(lines, "run", "--stdin", "--addr", "127.0.0.1:0")
	if strings.Count(got, "\n") != 200 {
		t.Errorf("200 lines are answered with\n%s", got)
	}
	for n := range 200 {
		if strings.Count(got, fmt.Sprintf(`"commandId":"n%d"`, n)) != 1 {
			t.Errorf("command n%d is not answered once", n)
		}
	}
}

func TestRebuildThatWaitsIsReportedAndCancelled(t *testing.T) {
	t.Parallel()
	b := newNotebook(t)
	b.run("", "send", "Book", "Note", "Write", "a", `{"Text":"spoilt"}`)
	b.broken = true
	if got := b.run("", "rebuild", "Notes"); !strings.Contains(got, "the rebuild waits for an operator") {
		t.Errorf("rebuild prints %s", got)
	}
	b.prints("id text filed\na spoilt false", "show", "Notes")
	if got := b.run("", "lag"); !strings.Contains(got, "\nthe rebuild of Book.Notes waits: 1 streams are blocked") {
		t.Errorf("lag prints %s, want the rebuild", got)
	}
	b.prints("", "rebuild", "--cancel", "Notes")
	if got := b.run("", "lag"); strings.Contains(got, "the rebuild of") {
		t.Errorf("lag prints %s after the cancellation", got)
	}
}
