package reventless_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/readmodel"
)

type secret struct{ Text string }

func (secret) MessageType() string { return "Secret" }

// lines is a writer of log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// A payload never gets into a log line by the engine, at any level and whatever
// fails, and no line grows with what failed.
func TestLogLinesAreBoundedAndHoldNoPayload(t *testing.T) {
	t.Parallel()
	type msg interface{ message.Typed }
	const marker = "s3cr3t-payload"
	vaults := aggregate.New(aggregate.Spec[struct{ Texts []string }, msg, msg]{
		Name: "Vault", Commands: message.NewSet[msg](secret{}), Events: message.NewSet[msg](secret{}), SnapshotEvery: 2, Async: true,
		Decide: func(s struct{ Texts []string }, c msg) ([]msg, error) {
			switch text := c.(secret).Text; {
			case strings.HasPrefix(text, "panic"):
				panic("a bug in the domain")
			case strings.HasPrefix(text, "no"):
				return nil, message.Reject("No")
			default:
				return []msg{c}, nil
			}
		},
		Evolve: func(s struct{ Texts []string }, e msg) struct{ Texts []string } {
			s.Texts = append(s.Texts[:len(s.Texts):len(s.Texts)], e.(secret).Text)
			return s
		},
	})
	rows := readmodel.New(readmodel.Spec[secret]{Name: "Rows", Projections: readmodel.Projections[secret]{
		readmodel.On(vaults, func(e message.Event[msg]) readmodel.Changes[secret] {
			switch {
			case e.EntityID == "poison":
				panic(errors.New(strings.Repeat("a very long reason ", 1000)))
			case e.EntityID == "missing":
				return readmodel.Update("nobody", func(*secret) {})
			}
			return readmodel.Put(e.EntityID, e.Data.(secret))
		}),
	}})
	out := &lines{}
	p := memory.New(&memory.Options{Limits: driver.Limits{MaxCommitBytes: 60_000}})
	h, err := host.Open(t.Context(), reventless.New("test", in("Main", vaults, rows)).Assembled(), p, &host.Options{
		Backoff: func(int) time.Duration { return 0 },
		Logger:  slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"fine", "poison", "missing"} {
		for _, text := range []string{marker, "no " + marker, "panic " + marker, strings.Repeat(marker, 5000)} {
			sendTo(t, h, vaults.To(id, secret{text}))
		}
	}
	topic, err := p.OpenCommandTopic(t.Context(), "Main.Vault")
	if err != nil {
		t.Fatal(err)
	}
	undecodable := driver.Command{Target: "Main.Vault", Entity: "fine", Type: "Secret", Version: 1, Data: json.RawMessage(`{"Text":["` + marker + `"]}`), Meta: driver.Meta{ID: "bad"}}
	if err := topic.Send(t.Context(), []driver.Command{undecodable}); err != nil {
		t.Fatal(err)
	}
	idle(t, h)
	letters, err := h.DeadLetters().List(t.Context(), "", "", 100)
	if err != nil || len(letters) < 6 {
		t.Fatalf("%d letters, %v; the test wants failures of all kinds", len(letters), err)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	n := 0
	for line := range strings.Lines(out.buf.String()) {
		if n++; len(line) > 6000 {
			t.Errorf("a line of %d bytes: %.200s...", len(line), line)
		}
		if strings.Contains(line, marker) {
			t.Errorf("a line with a payload: %.500s", line)
		}
	}
	if n < 10 {
		t.Errorf("%d lines; the test wants something to look at", n)
	}
}
