package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// dedupWindow is how long the id of an accepted command is remembered.
const dedupWindow = 5 * time.Minute

// commandTopic is a queue that remembers the ids of accepted commands.
type commandTopic struct {
	*queue[driver.Command]
}

// OpenCommandTopic implements [driver.Provider].
func (p *Provider) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	return p.openCommandTopic(ctx, name)
}

// OpenCommandReceiver implements [driver.Sources].
func (p *Provider) OpenCommandReceiver(ctx context.Context, name string) (driver.Receiver[driver.Command], error) {
	return p.openCommandTopic(ctx, name)
}

func (p *Provider) openCommandTopic(ctx context.Context, name string) (*commandTopic, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	defer p.leave()
	q, err := openQueue(ctx, p, kindCommands, name, driver.ReceiverOf("CommandTopic", name), decodeCommand)
	if err != nil {
		return nil, fmt.Errorf("commandtopic: open %q: %w", name, err)
	}
	return &commandTopic{q}, nil
}

// commandHead is the JSON of a queued command, without its payload.
type commandHead struct {
	Target      string      `json:"target"`
	Type        string      `json:"type"`
	Version     int         `json:"version"`
	Fingerprint uint32      `json:"fingerprint,omitempty"`
	Resend      int         `json:"resend,omitempty"`
	Meta        driver.Meta `json:"meta"`
}

// encodeCommand checks a command and returns its message.
func encodeCommand(c driver.Command, limit int) (message, error) {
	if err := driver.CheckID("entity", c.Entity); err != nil {
		return message{}, err
	}
	if err := driver.CheckID("command", c.Meta.ID); err != nil {
		return message{}, err
	}
	if c.Data != nil && !json.Valid(c.Data) {
		return message{}, fmt.Errorf("command %q: the data is not JSON: %w", c.Meta.ID, driver.ErrInvalid)
	}
	head, err := json.Marshal(commandHead{c.Target, c.Type, c.Version, c.Fingerprint, c.Resend, c.Meta})
	if err != nil {
		return message{}, fmt.Errorf("command %q: %w: %w", c.Meta.ID, driver.ErrInvalid, err)
	}
	if size := len(c.Entity) + len(head) + len(c.Data); size > limit {
		return message{}, fmt.Errorf("command %q: %w", c.Meta.ID, &driver.TooLargeError{What: "command", Size: size, Limit: limit})
	}
	m := message{group: c.Entity, head: string(head)}
	if c.Data != nil {
		m.data = string(c.Data)
	}
	return m, nil
}

func decodeCommand(group, head string, data []byte) (driver.Command, error) {
	var h commandHead
	err := json.Unmarshal([]byte(head), &h)
	return driver.Command{
		Target: h.Target, Entity: group, Type: h.Type, Version: h.Version, Data: data, Fingerprint: h.Fingerprint, Resend: h.Resend, Meta: h.Meta,
	}, err
}

// Send implements [driver.CommandTopic].
func (ct commandTopic) Send(ctx context.Context, commands []driver.Command) error {
	if err := ct.p.enter(ctx); err != nil {
		return err
	}
	defer ct.p.leave()
	type accepted struct {
		id string
		message
	}
	var good []accepted
	refused := map[string]error{}
	for _, c := range commands {
		m, err := encodeCommand(c, ct.p.limits.MaxCommandBytes)
		if err != nil {
			refused[c.Meta.ID] = err
			continue
		}
		good = append(good, accepted{c.DeduplicationKey(), m})
	}
	if len(good) > 0 {
		now := ct.p.now()
		err := ct.p.writeWhole(ctx, func(t *tx) error {
			for _, g := range good {
				if err := ct.accept(t, g.id, g.message, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("commandtopic: send %d commands: %w", len(good), err)
		}
	}
	if len(refused) > 0 {
		return &driver.BatchError{Failed: refused}
	}
	return nil
}

// accept queues a command unless it was accepted within the deduplication window.
func (ct commandTopic) accept(t *tx, command string, m message, now time.Time) error {
	id, err := t.next()
	if err != nil {
		return err
	}
	until := now.Add(-dedupWindow).UnixNano()
	added, _, err := t.exec(`INSERT INTO sent (message, queue, entity, command, at, crc) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (queue, entity, command) DO UPDATE SET message = excluded.message, at = excluded.at, crc = excluded.crc WHERE at < ?`,
		id, ct.id, m.group, command, now.UnixNano(), sentSum(id, ct.id, m.group, command, now.UnixNano()), until)
	if err != nil || added == 0 {
		return err
	}
	if err := ct.putAs(t, id, m); err != nil {
		return err
	}
	// Delete up to two of the oldest entries with each insert, so that few are kept.
	_, _, err = t.exec("DELETE FROM sent WHERE message IN (SELECT message FROM sent ORDER BY message LIMIT 2) AND at < ?", until)
	return err
}
