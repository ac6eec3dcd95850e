package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// watchers has the subscriptions of the process.
type watchers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	total  int

	awaited atomic.Pointer[awaited]
}

// awaited is a text that subscriptions are expected to receive.
type awaited struct {
	text []byte
	mu   sync.Mutex
	seen map[string]bool // by connection and subscription
	left int
	all  chan struct{}
}

func (a *awaited) see(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen[key] {
		return
	}
	a.seen[key] = true
	if a.left--; a.left == 0 {
		close(a.all)
	}
}

func (w *watchers) close() {
	if w.cancel != nil {
		w.cancel()
		w.wg.Wait()
		w.cancel = nil
	}
	w.total = 0
}

// open closes the old subscriptions and opens new ones.
func (w *watchers) open(ctx context.Context, o Watch) error {
	w.close()
	ctx, w.cancel = context.WithCancel(ctx)
	for c := range o.Connections {
		if err := w.connect(ctx, o, c); err != nil {
			return fmt.Errorf("connection %d: %w", c, err)
		}
	}
	w.total = o.Connections * o.PerConnection
	return nil
}

func (w *watchers) connect(ctx context.Context, o Watch, number int) error {
	header := http.Header{}
	for k, v := range o.Headers {
		header.Set(k, v)
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+o.Addr+o.Path, &websocket.DialOptions{
		HTTPHeader: header, Subprotocols: []string{"graphql-transport-ws"},
	})
	if err != nil {
		return err
	}
	send := func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return conn.Write(ctx, websocket.MessageText, text)
	}
	if err := send(map[string]string{"type": "connection_init"}); err != nil {
		return err
	}
	if _, ack, err := conn.Read(ctx); err != nil || !bytes.Contains(ack, []byte("connection_ack")) {
		return errors.Join(fmt.Errorf("received %.200q, want connection_ack", ack), err)
	}
	for i := range o.PerConnection {
		variables := map[string]string{}
		if o.Prefix != "" {
			variables["id"] = o.Prefix + strconv.Itoa(number*o.PerConnection+i)
		}
		if err := send(map[string]any{"type": "subscribe", "id": strconv.Itoa(i), "payload": map[string]any{"query": o.Document, "variables": variables}}); err != nil {
			return err
		}
	}
	w.wg.Go(func() {
		defer conn.CloseNow() //nolint:errcheck // the process ends afterwards
		w.read(ctx, conn, number)
	})
	return nil
}

func (w *watchers) read(ctx context.Context, conn *websocket.Conn, number int) {
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if bytes.Contains(message, []byte(`"type":"ping"`)) {
			if conn.Write(ctx, websocket.MessageText, []byte(`{"type":"pong"}`)) != nil {
				return
			}
			continue
		}
		if a := w.awaited.Load(); a != nil && bytes.Contains(message, a.text) {
			a.see(strconv.Itoa(number) + " " + subscription(message))
		}
	}
}

// subscription returns the id of a message's subscription. It decodes the message because
// the payload may have members of the same name.
func subscription(message []byte) string {
	var m struct{ ID string }
	_ = json.Unmarshal(message, &m) // a message that is not JSON has no id
	return m.ID
}

// expect starts to search new messages for a text.
func (w *watchers) expect(text string, by int) {
	if by == 0 {
		by = w.total
	}
	a := &awaited{text: []byte(text), seen: map[string]bool{}, left: by, all: make(chan struct{})}
	if by == 0 {
		close(a.all)
	}
	w.awaited.Store(a)
}

// await waits until the expected number of subscriptions has received the text, at most
// for the given duration.
func (w *watchers) await(ctx context.Context, most time.Duration) Report {
	a := w.awaited.Load()
	start := now()
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case <-a.all:
	case <-limit.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return Report{Seconds: now().Sub(start).Seconds(), Missing: a.left}
}
