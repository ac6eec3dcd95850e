package drivertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestCommandTopic runs the suite of [driver.CommandTopic].
func TestCommandTopic(t *testing.T, open Open) { commandTopicSuite().run(t, open) }

func commandTopicSuite() suite {
	return suite{"CommandTopic", append(receiverProperties(true, commandQueue), []property{
		{"EverythingOfACommandIsKept", everythingOfACommandIsKept},
		{"AnEmptyBatchIsNothing", anEmptyBatchOfCommandsIsNothing},
		{"LargeBatchesAreDeliveredCompletely", largeBatchesOfCommandsAreDeliveredCompletely},
		{"ARepeatedCommandIsDeliveredOnce", aRepeatedCommandIsDeliveredOnce},
		{"AnotherFingerprintOrResendIsDelivered", anotherFingerprintOrResendIsDelivered},
		{"ACommandIDIsRepeatedPerEntity", aCommandIDIsRepeatedPerEntity},
		{"ConcurrentRepeatsAreDeliveredOnce", concurrentRepeatsAreDeliveredOnce},
		{"RepeatsAreForgottenAfterFiveMinutes", repeatsAreForgottenAfterFiveMinutes},
		{"RepeatsAreKnownAfterReopening", repeatsAreKnownAfterReopening},
		{"AnOversizedCommandHarmsNoOther", anOversizedCommandHarmsNoOther},
		{"CommandsUpToTheLimitAreAccepted", commandsUpToTheLimitAreAccepted},
		{"BadIDsAreRefused", badCommandIDsAreRefused},
		{"EntitiesAndCommandIDsAreKeptApart", entitiesAndCommandIDsAreKeptApart},
		cancelledCallsFail(commandTopicCalls),
		{"ArgumentsAreNotKept", sendDoesNotKeepItsArguments},
	}...)}
}

// commandEnds are both ends of a command queue.
type commandEnds struct {
	driver.CommandTopic
	driver.Receiver[driver.Command]
}

func (e *env) commandTopic(name string) commandEnds {
	e.Helper()
	t, err := e.Provider.OpenCommandTopic(e.ctx, name)
	r, err2 := e.Provider.OpenCommandReceiver(e.ctx, name)
	return commandEnds{opened(e, t, err), opened(e, r, err2)}
}

func command(entity, id string) driver.Command {
	quoted, _ := json.Marshal(id) // a string always marshals
	return driver.Command{
		Target: "Test.Thing", Entity: entity, Type: "Do", Version: 1,
		Data: json.RawMessage(`{"id":` + string(quoted) + `}`),
		Meta: driver.Meta{ID: id, Service: "Test.Thing"},
	}
}

func commandQueue(e *env) queue[driver.Command] {
	t := e.commandTopic("Test.Thing")
	return queue[driver.Command]{
		Receiver: t,
		put: func(group string, n int) {
			e.try(t.Send(e.ctx, []driver.Command{command(group, group+"#"+strconv.Itoa(n))}), "send command %d to %s", n, short(group))
		},
		place: commandQueuePlace,
	}
}

func commandQueuePlace(c driver.Command) place {
	n, _ := strconv.Atoi(c.Meta.ID[strings.LastIndexByte(c.Meta.ID, '#')+1:]) // 0 for another id
	return place{c.Entity, n}
}

func noCommands(e *env, t commandEnds, why string) {
	e.Helper()
	none(e, t.Receiver, func(c driver.Command) string {
		return fmt.Sprintf("command %s to %s", short(c.Meta.ID), short(c.Entity))
	}, why)
}

// sameJSON reports whether two texts have the same value, numbers compared by
// their digits.
func sameJSON(a, b []byte) bool {
	return bytes.Equal(canonical(a), canonical(b))
}

func canonical(text []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return append([]byte("not JSON: "), text...)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return append([]byte("not JSON: "), text...)
	}
	return out
}

func diffCommand(got, want driver.Command) string {
	if d := diffMeta(got.Meta, want.Meta); d != "" {
		return d
	}
	if got.Target != want.Target || got.Entity != want.Entity || got.Type != want.Type || got.Version != want.Version {
		return fmt.Sprintf("got %s to %s of %s version %d, want %s to %s of %s version %d",
			got.Type, short(got.Entity), got.Target, got.Version, want.Type, short(want.Entity), want.Target, want.Version)
	}
	if !sameJSON(got.Data, want.Data) {
		return fmt.Sprintf("the data is %s, want %s", short(string(got.Data)), short(string(want.Data)))
	}
	return ""
}

func everythingOfACommandIsKept(e *env) {
	t := e.commandTopic("Test.Thing")
	want := command("entity <&> \u2028", "c1")
	want.Version = 12
	want.Type = "Dö <it>"
	want.Meta = driver.Meta{
		ID: "c1", Service: "Test.Thing", CorrelationID: "root", CausationID: "parent",
		Time: time.Date(2024, time.February, 29, 23, 59, 59, 123456789, time.UTC),
		User: "u <&> \u2028", IP: "2001:db8::1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Headers: map[string]string{"a": "1", "Ä": "<&>"},
	}
	for i, text := range []string{
		`{"big":12345678901234567890123456789.5,"html":"<a>&","u":"\u2028😀","nul":"\u0000"}`,
		`{ "spaced" : [ 1 , 2.50 ] }`, `null`, `[]`, `"x"`, `1e400`,
	} {
		want.Meta.ID = fmt.Sprintf("c%d", i)
		want.Data = json.RawMessage(text)
		e.must(t.Send(e.ctx, []driver.Command{want}), "send %s", text)
		got := drained(e, t, 1)
		e.fatalIf(len(got) != 1, "got %d commands, want 1", len(got))
		e.noDiff(diffCommand(got[0], want), "%s", text)
	}
}

func anEmptyBatchOfCommandsIsNothing(e *env) {
	t := e.commandTopic("Test.Thing")
	e.must(t.Send(e.ctx, nil), "send nil")
	e.must(t.Send(e.ctx, []driver.Command{}), "send an empty batch")
	noCommands(e, t, "though none was sent")
}

func largeBatchesOfCommandsAreDeliveredCompletely(e *env) {
	t := e.commandTopic("Test.Thing")
	const entities, each = 7, 9
	var batch []driver.Command
	for n := 1; n <= each; n++ {
		for g := range entities {
			batch = append(batch, command(fmt.Sprintf("g%d", g), fmt.Sprintf("g%d#%d", g, n)))
		}
	}
	e.must(t.Send(e.ctx, batch), "send %d commands", len(batch))
	q := commandQueue(e)
	inOrder(e, drain(e, q, entities*each), entities, each)

	// Packing counts bytes: each is under the limit, together they are far over it.
	limit := min(e.Provider.Limits().MaxCommandBytes, 1<<20)
	batch = nil
	for n := 1; n <= 12; n++ {
		c := command("big", fmt.Sprintf("big#%d", n))
		c.Data = json.RawMessage(`"` + strings.Repeat("x", limit*2/3) + `"`)
		batch = append(batch, c)
	}
	e.must(t.Send(e.ctx, batch), "send 12 large commands")
	inOrder(e, drain(e, q, 12), 1, 12)
	nothing(e, q, "though all were settled")
}

func aRepeatedCommandIsDeliveredOnce(e *env) {
	t := e.commandTopic("Test.Thing")
	c := command("g", "c1")
	send := func(cs ...driver.Command) {
		e.Helper()
		e.must(t.Send(e.ctx, cs), "send")
	}
	send(c, command("g", "c0"), c) // in one batch
	send(c)                        // while it waits
	first := batch(e, t, 1)
	send(c) // while it is leased
	settle(e, t, true, first...)
	send(c) // while it waits for its retry
	var got []string
	for _, c := range drained(e, t, 2) {
		got = append(got, c.Meta.ID)
	}
	e.errorIf(fmt.Sprint(got) != "[c1 c0]", "got the commands %v, want [c1 c0]", got)
	send(c, command("g", "c0")) // after it was settled
	noCommands(e, t, "though it is a repeat")
	other := c
	other.Data = json.RawMessage(`{"other":"data"}`)
	send(other) // its key decides, not its content
	noCommands(e, t, "though it is a repeat with other data")
}

// A command that has the id of another one is refused where it is decided, and one that was
// parked may be sent again: the queue must not drop them.
func anotherFingerprintOrResendIsDelivered(e *env) {
	t := e.commandTopic("Test.Thing")
	c := command("g", "c")
	c.Fingerprint = 1
	other, again := c, c
	other.Fingerprint, again.Resend = 2, 1
	for range 2 {
		e.must(t.Send(e.ctx, []driver.Command{c, other, again}), "send")
	}
	var got []string
	for _, c := range drained(e, t, 3) {
		got = append(got, c.DeduplicationKey())
	}
	if want := []string{c.DeduplicationKey(), other.DeduplicationKey(), again.DeduplicationKey()}; fmt.Sprint(got) != fmt.Sprint(want) {
		e.errorIf(true, "got the commands %v, want %v", got, want)
	}
	noCommands(e, t, "though it is a repeat")
}

func aCommandIDIsRepeatedPerEntity(e *env) {
	t := e.commandTopic("Test.Thing")
	e.must(t.Send(e.ctx, []driver.Command{command("g1", "c"), command("g2", "c")}), "send")
	e.must(t.Send(e.ctx, []driver.Command{command("g3", "c"), command("g1", "c")}), "send")
	got := map[string]int{}
	for _, c := range drained(e, t, 3) {
		got[c.Entity]++
	}
	for _, g := range []string{"g1", "g2", "g3"} {
		e.errorIf(got[g] != 1, "entity %s got %d commands, want 1", g, got[g])
	}
	noCommands(e, t, "though it is a repeat")
}

func concurrentRepeatsAreDeliveredOnce(e *env) {
	t := e.commandTopic("Test.Thing")
	const rounds = 10
	for i := range rounds {
		race(8, func(int) {
			e.try(t.Send(e.ctx, []driver.Command{command("g", fmt.Sprintf("c%d", i))}), "send")
		})
	}
	got := drained(e, t, rounds)
	for i, c := range got {
		want := fmt.Sprintf("c%d", i)
		e.errorIf(c.Meta.ID != want, "command %s was delivered, want %s", c.Meta.ID, want)
	}
	noCommands(e, t, "though it is a repeat")
}

func repeatsAreForgottenAfterFiveMinutes(e *env) {
	e.needClock()
	t := e.commandTopic("Test.Thing")
	early, late := command("g", "early"), command("g", "late")
	e.must(t.Send(e.ctx, []driver.Command{early, late}), "send")
	drained(e, t, 2)
	e.advance(4*time.Minute + 50*time.Second)
	e.must(t.Send(e.ctx, []driver.Command{early}), "send again")
	noCommands(e, t, "though it is a repeat within five minutes")
	e.advance(70 * time.Second)
	e.must(t.Send(e.ctx, []driver.Command{late}), "send after six minutes")
	got := drained(e, t, 1)
	e.errorIf(len(got) != 1 || got[0].Meta.ID != "late", "a command sent after six minutes is not delivered")
}

func repeatsAreKnownAfterReopening(e *env) {
	e.needReopen()
	t := e.commandTopic("Test.Thing")
	e.must(t.Send(e.ctx, []driver.Command{command("g", "c1"), command("g", "c2")}), "send")
	settle(e, t, false, batch(e, t, 1)...)
	e.reopen()
	t = e.commandTopic("Test.Thing")
	e.must(t.Send(e.ctx, []driver.Command{command("g", "c1"), command("g", "c2"), command("g", "c3")}), "send again")
	var got []string
	for _, c := range drained(e, t, 2) {
		got = append(got, c.Meta.ID)
	}
	e.errorIf(fmt.Sprint(got) != "[c2 c3]", "got the commands %v, want [c2 c3]", got)
	noCommands(e, t, "though it is a repeat")
}

// failedOf returns the failures of a batch.
func failedOf(e *env, err error, what string) map[string]error {
	e.Helper()
	var be *driver.BatchError
	if !errors.As(err, &be) {
		e.Errorf("%s: got %v, want a *BatchError", what, err)
		return nil
	}
	return be.Failed
}

func anOversizedCommandHarmsNoOther(e *env) {
	t := e.commandTopic("Test.Thing")
	limit := e.testableLimit("MaxCommandBytes", e.Provider.Limits().MaxCommandBytes)
	big := command("g", "g#99")
	big.Data = json.RawMessage(`"` + strings.Repeat("x", limit+1) + `"`)
	batch := []driver.Command{command("g", "g#1"), command("g", "g#2"), big, command("g", "g#3"), command("h", "h#1")}
	failed := failedOf(e, t.Send(e.ctx, batch), "a batch with an oversized command")
	e.errorIf(len(failed) != 1, "%d commands failed, want only the oversized one: %v", len(failed), sortedKeys(failed))
	e.wantTooLarge(failed["g#99"], "command", limit, "the oversized command")
	var got []place
	q := commandQueue(e)
	for _, p := range drain(e, q, 4) {
		if p.group == "g" {
			got = append(got, p)
		}
	}
	inOrder(e, got, 1, 3)
	nothing(e, q, "though it was refused")

	// Alone, first and last.
	err := t.Send(e.ctx, []driver.Command{big})
	e.wantTooLarge(err, "command", limit, "the oversized command alone")
	failed = failedOf(e, t.Send(e.ctx, []driver.Command{big, command("i", "i#1")}), "an oversized command at the head")
	e.wantTooLarge(failed["g#99"], "command", limit, "the oversized command at the head")
	failed = failedOf(e, t.Send(e.ctx, []driver.Command{command("i", "i#2"), big}), "an oversized command at the end")
	e.wantTooLarge(failed["g#99"], "command", limit, "the oversized command at the end")
	inOrder(e, drain(e, q, 2), 1, 2)
	nothing(e, q, "though it was refused")

	// A refused command was not accepted: its id is still free.
	e.must(t.Send(e.ctx, []driver.Command{command("g", "g#99")}), "send the refused id with less data")
	if got := drain(e, q, 1); len(got) != 1 || got[0].n != 99 {
		e.Errorf("got %v, want the command that was refused before", got)
	}
}

func commandsUpToTheLimitAreAccepted(e *env) {
	t := e.commandTopic("Test.Thing")
	limit := e.testableLimit("MaxCommandBytes", e.Provider.Limits().MaxCommandBytes)
	want := command("g", "c")
	want.Data = json.RawMessage(`"` + strings.Repeat("x", almost(limit)) + `"`)
	e.must(t.Send(e.ctx, []driver.Command{want}), "send a command just under the limit of %d", limit)
	for _, got := range drained(e, t, 1) {
		if d := diffCommand(got, want); d != "" {
			e.Errorf("%s", d)
		}
	}
}

func badCommandIDsAreRefused(e *env) {
	t := e.commandTopic("Test.Thing")
	i := 0
	for name, id := range badIDs() {
		i++
		refused := func(what, key string, batch ...driver.Command) {
			failed := failedOf(e, t.Send(e.ctx, batch), what+name)
			e.wantClass(failed[key], driver.ErrInvalid, "%s%s", what, name)
			e.errorIf(len(failed) != 1, "%s%s: %d commands failed, want 1", what, name, len(failed))
		}
		to := fmt.Sprintf("to-%d", i)
		refused("an entity id that is ", to, command(id, to), command("good", fmt.Sprintf("good#%d", i)))
		refused("a command id that is ", id, command("good2", fmt.Sprintf("good2#%d", i)), command("e", id))
	}
	q := commandQueue(e)
	inOrder(e, drain(e, q, 2*i), 2, i)
	nothing(e, q, "though it was refused")
}

func entitiesAndCommandIDsAreKeptApart(e *env) {
	t := e.commandTopic("Test.Thing")
	ids := goodIDs()
	var batch []driver.Command
	want := map[string]driver.Command{} // by entity
	for i, id := range ids {
		c := command(id, ids[len(ids)-1-i])
		batch = append(batch, c)
		want[id] = c
	}
	e.must(t.Send(e.ctx, batch), "send")
	for _, c := range drained(e, t, len(ids)) {
		w, ok := want[c.Entity]
		if !ok {
			e.Errorf("a command to %s was delivered that is unknown, or was delivered twice", short(c.Entity))
			continue
		}
		delete(want, c.Entity)
		d := diffCommand(c, w)
		e.errorIf(d != "", "%s", d)
	}
	for id := range want {
		e.Errorf("no command to %s was delivered", short(id))
	}
	// Ids that differ in their last bytes only, in one entity.
	long := strings.Repeat("x", driver.MaxIDBytes-1)
	e.must(t.Send(e.ctx, []driver.Command{command("e", long+"a"), command("e", long+"b"), command("e", long+"a")}), "send")
	got := drained(e, t, 2)
	e.errorIf(len(got) != 2 || got[0].Meta.ID != long+"a" || got[1].Meta.ID != long+"b", "two commands whose long ids differ in the last byte are not both delivered")
	noCommands(e, t, "though it is a repeat")
}

func sendDoesNotKeepItsArguments(e *env) {
	t := e.commandTopic("Test.Thing")
	build := func() driver.Command {
		c := command("g", "c")
		c.Meta.Headers = map[string]string{"h": "1"}
		return c
	}
	c := build()
	batch := []driver.Command{c}
	e.must(t.Send(e.ctx, batch), "send")
	e.noDiff(diffCommand(c, build()), "Send changed its argument")
	overwrite := func(c *driver.Command) {
		wipe(c.Data)
		clear(c.Meta.Headers)
		*c = driver.Command{}
	}
	overwrite(&batch[0])
	first := take(e, t, 1)
	e.noDiff(diffCommand(first[0].Message, build()), "after the argument was overwritten")
	overwrite(&first[0].Message)
	settle(e, t, true, first...)
	e.noDiff(diffCommand(take(e, t, 1)[0].Message, build()), "after the result was overwritten")
}
