package memory

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// commandTopic is a [driver.CommandTopic].
type commandTopic struct {
	*queue[driver.Command]
	name string

	mu   sync.Mutex // locked during a whole Send, to keep the order of its commands
	seen window
}

func newCommandTopic(p *Provider, name string) *commandTopic {
	return &commandTopic{
		queue: newQueue(p, driver.ReceiverOf("CommandTopic", name), copyCommand),
		name:  name,
		seen:  newWindow(dedupWindow, false),
	}
}

// Send implements [driver.CommandTopic].
func (t *commandTopic) Send(ctx context.Context, commands []driver.Command) error {
	sent, err := t.send(ctx, commands)
	if sent {
		t.p.notify(t.receiver.name)
	}
	return err
}

func (t *commandTopic) send(ctx context.Context, commands []driver.Command) (sent bool, err error) {
	if err := t.p.begin(ctx); err != nil {
		return false, err
	}
	defer t.p.end()
	failed := make(map[string]error)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range commands {
		if err := t.checkCommand(c); err != nil {
			failed[c.Meta.ID] = fmt.Errorf("commandtopic %q: %w", t.name, err)
			continue
		}
		if t.seen.first(c.Entity+"\x00"+c.DeduplicationKey(), t.p.now()) {
			t.push(c.Entity, copyCommand(c))
			sent = true
		}
	}
	return sent, batchError(failed)
}

func (t *commandTopic) checkCommand(c driver.Command) error {
	if err := driver.CheckID("command", c.Meta.ID); err != nil {
		return err
	}
	if err := driver.CheckID("entity", c.Entity); err != nil {
		return err
	}
	encoded, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("command %q: %w: %w", c.Meta.ID, driver.ErrInvalid, err)
	}
	if size, limit := len(encoded), t.p.limits.MaxCommandBytes; size > limit {
		return fmt.Errorf("command %q: %w", c.Meta.ID, &driver.TooLargeError{What: "command", Size: size, Limit: limit})
	}
	return nil
}
