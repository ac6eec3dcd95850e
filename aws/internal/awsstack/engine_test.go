package awsstack_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/aws/eventcollector"
	"github.com/reventless-go/reventless/aws/internal/awsstack"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

type (
	// Put puts a number into a jar; Next one more than there are.
	Put struct {
		N    int    `json:"n"`
		Note string `json:"note,omitempty"`
	}
	Next  struct{}
	Added struct {
		N    int    `json:"n"`
		Note string `json:"note,omitempty"`
	}
)

func (Put) MessageType() string   { return "Put" }
func (Next) MessageType() string  { return "Next" }
func (Added) MessageType() string { return "Added" }

// SumRow adds up what is in jars.
type SumRow struct {
	Sum   int    `json:"sum"`
	Notes string `json:"notes"`
}

// shop is an App with a jar and three read models of it.
type shop struct {
	jar    *aggregate.Aggregate[int, message.Typed, Added]
	own    *readmodel.ReadModel[SumRow] // a row for each jar, with its watermark
	each   *readmodel.ReadModel[SumRow] // a row for each jar
	all    *readmodel.ReadModel[SumRow] // one row for all
	mended atomic.Bool
}

func newShop() *shop {
	s := &shop{}
	s.jar = aggregate.New(aggregate.Spec[int, message.Typed, Added]{
		Name: "Jar", Async: true, Commands: message.NewSet[message.Typed](Put{}, Next{}), Events: message.NewSet[Added](Added{}),
		Decide: func(n int, c message.Typed) ([]Added, error) {
			if p, ok := c.(Put); ok {
				return []Added{Added(p)}, nil
			}
			return []Added{{N: n + 1}}, nil
		},
		Evolve: func(n int, _ Added) int { return n + 1 },
	})
	model := func(name string, own bool, id func(string) string) *readmodel.ReadModel[SumRow] {
		return readmodel.New(readmodel.Spec[SumRow]{Name: name, OwnRow: own, Projections: []readmodel.Projection[SumRow]{
			readmodel.On(s.jar, func(e message.Event[Added]) readmodel.Changes[SumRow] {
				if e.Data.Note == "poison" && name == "All" && !s.mended.Load() {
					panic("poison")
				}
				return readmodel.UpdateOrCreate(id(e.EntityID), SumRow{}, func(r *SumRow) {
					r.Sum += e.Data.N
					if name != "All" { // streams have an order, rows that they share have none
						r.Notes += fmt.Sprint(e.Data.N, " ")
					}
				})
			}),
		}})
	}
	s.own = model("Own", true, func(id string) string { return id })
	s.all = model("All", false, func(string) string { return "all" })
	s.each = model("Each", false, func(id string) string { return id })
	return s
}

// process is a host on AWS.
type process struct {
	*host.Host
	t      *testing.T
	faults *faults.Provider
}

// open returns a process of a stack that does not run yet. Its clients are those of
// AWS, which send again what failed, behind faults; nil is none.
func (s *shop) open(t *testing.T, stack *awsstack.Stack, tables, queues *awstest.Clients, opts *host.Options) *process {
	t.Helper()
	if opts == nil {
		opts = &host.Options{}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Logger, opts.Poll, opts.Backoff = slog.New(slog.DiscardHandler), 10*time.Millisecond, func(int) time.Duration { return time.Millisecond }
	app := reventless.New("shop", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{s.jar, s.own, s.each, s.all}}))
	p := &process{t: t, faults: faults.New(stack.Provider(tables, queues, opts.Now), nil)}
	var err error
	// It is not told of what comes: it asks.
	if p.Host, err = host.Open(t.Context(), app.Assembled(), struct{ driver.Provider }{p.faults}, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	if err := p.Start(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func command(id, entity string, c message.Typed) driver.Command {
	data, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return driver.Command{Target: "Shop.Jar", Entity: entity, Type: c.MessageType(), Version: 1, Data: data, Meta: driver.Meta{ID: id}}
}

// handle hands a command to the aggregate, as its function is handed it, until it is
// settled.
func (p *process) handle(ctx context.Context, c driver.Command) error {
	for range 100 {
		ends, err := p.HandleCommands(ctx, "Shop.Jar", []driver.Delivery[driver.Command]{{ID: "d", Attempt: 1, Message: c}})
		if err != nil {
			return err
		}
		if len(ends) == 1 && !ends[0].Retry {
			return nil
		}
	}
	return errors.New("it is retried for ever")
}

// commits returns a stream of the log, or with an empty name all of it.
func (p *process) commits(stream string) (all []driver.Commit) {
	p.t.Helper()
	log, _ := p.EventLog("Shop.Jar")
	seq := log.Scan(p.t.Context(), 0, 1)
	if stream != "" {
		seq = log.Read(p.t.Context(), stream, 0)
	}
	for c, err := range seq {
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// added returns the event of a commit of one.
func added(t *testing.T, c driver.Commit) (a Added) {
	t.Helper()
	if err := json.Unmarshal(c.Events[0].Data, &a); err != nil || len(c.Events) != 1 {
		t.Fatalf("%+v: %v", c, err)
	}
	return a
}

// fold is what the rows of a read model have to be, by other code.
func (p *process) fold(skip func(stream string, n uint64) bool) (own, all map[string]SumRow) {
	p.t.Helper()
	own, all = map[string]SumRow{}, map[string]SumRow{}
	for _, c := range p.commits("") {
		if skip != nil && skip(c.Stream, c.SequenceNr) {
			continue
		}
		n := added(p.t, c).N
		own[c.Stream] = SumRow{own[c.Stream].Sum + n, own[c.Stream].Notes + fmt.Sprint(n, " ")}
		all["all"] = SumRow{Sum: all["all"].Sum + n}
	}
	return own, all
}

func (p *process) rows(readModel string) map[string]SumRow {
	p.t.Helper()
	page, err := p.QueryEngine().Scan(p.t.Context(), driver.Scan{ReadModel: readModel})
	if err != nil {
		p.t.Fatal(err)
	}
	rows := map[string]SumRow{}
	for _, r := range page.Rows {
		var row SumRow
		if err := json.Unmarshal(r.Data, &row); err != nil {
			p.t.Fatal(err)
		}
		rows[r.ID] = row
	}
	return rows
}

// until waits for what has to come.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(time.Minute); !f(); <-again.C {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func (p *process) untilRows(readModel string, want map[string]SumRow) {
	p.t.Helper()
	var got map[string]SumRow
	defer func() {
		p.t.Helper()
		if p.t.Failed() {
			p.t.Logf("%s has %v, want %v", readModel, got, want)
		}
	}()
	until(p.t, "the rows of "+readModel, func() bool { got = p.rows(readModel); return maps.Equal(got, want) })
}

func (p *process) letters() []driver.DeadLetter {
	p.t.Helper()
	letters, err := p.DeadLetters().List(p.t.Context(), "", "", 100)
	if err != nil {
		p.t.Fatal(err)
	}
	return letters
}

// Also where the answer to its first write is lost, and whether the SDK sends that
// again or the engine reads what came of it.
func TestACommandDeliveredThreeTimesIsOneCommitAndThreeEqualOutcomes(t *testing.T) {
	t.Parallel()
	for _, fault := range []awstest.Fault{awstest.TimeoutAfter, awstest.InternalAfter, awstest.ResetAfter, awstest.Timeout, awstest.Throttle} {
		for _, patient := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, sent again by the SDK: %t", fault, patient), func(t *testing.T) {
				t.Parallel()
				stack, s := awsstack.New(t, time.Minute), newShop()
				flaky := awstest.NewFaults(nil, 1, awstest.Rule{Fault: fault, Operations: []string{"DynamoDB.PutItem"}, Calls: []int{1}})
				tables := awstest.DynamoDB(t).Clients(flaky)
				if patient {
					tables = awstest.DynamoDB(t).Patient(flaky)
				}
				queues := awstest.MiniStack(t).Patient(nil)
				one := s.open(t, stack, tables, queues, nil)
				two := s.open(t, stack, awstest.DynamoDB(t).Patient(nil), queues, nil)
				c := command("c", "a", Put{N: 1})
				var first driver.Outcome
				for i, p := range []*process{one, one, two} {
					if err := p.handle(t.Context(), c); err != nil {
						t.Fatalf("delivery %d: %v", i+1, err)
					}
					o, err := p.Outcome(t.Context(), "c")
					if i == 0 {
						first = o
					}
					if err != nil || o.Kind != driver.Accepted || o.SequenceNr != 1 || fmt.Sprint(o) != fmt.Sprint(first) {
						t.Errorf("the outcome of delivery %d is %+v, %v", i+1, o, err)
					}
				}
				if n := len(one.commits("a")); n != 1 || len(flaky.Injected()) != 1 {
					t.Errorf("there are %d commits (faults %v), want 1", n, flaky.Injected())
				}
			})
		}
	}
}

// What orders commits are their numbers. Each writer decides on what is there, and
// no number is given twice, whatever their clocks say.
func TestWritersWithClocksHoursApartLoseNoUpdate(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	stack, s := awsstack.New(t, time.Minute), newShop()
	flaky := awstest.NewFaults(nil, seed, awstest.Mix("DynamoDB.PutItem")...)
	const each = 15
	var writers sync.WaitGroup
	var last *process
	for i, off := range []time.Duration{0, 7 * time.Hour, -7 * time.Hour, 400 * 24 * time.Hour} {
		p := s.open(t, stack, awstest.DynamoDB(t).Patient(flaky), awstest.MiniStack(t).Patient(nil), &host.Options{
			Now: func() time.Time { return time.Now().Add(off) },
		})
		last = p
		writers.Go(func() {
			for n := range each {
				if err := p.handle(t.Context(), command(fmt.Sprintf("c%d-%d", i, n), "a", Next{})); err != nil {
					t.Errorf("writer %d: %v (seed %d)", i, err, seed)
				}
			}
		})
	}
	writers.Wait()
	commits := last.commits("a")
	seen := map[string]bool{}
	for i, c := range commits {
		if n := added(t, c).N; n != i+1 || len(c.Commands) != 1 || seen[c.Commands[0].Meta.ID] {
			t.Errorf("commit %d has the number %d and the commands %v (seed %d)", i+1, n, c.Commands, seed)
		}
		seen[c.Commands[0].Meta.ID] = true
	}
	if len(commits) != 4*each {
		t.Errorf("there are %d commits, want %d (seed %d, faults %v)", len(commits), 4*each, seed, flaky.Injected())
	}
}

// Batches come twice, later, in another order and with gaps, and requests fail
// before and after their effect: the rows are those that the log makes.
func TestReadModelsEqualTheFoldOfTheLogWhateverIsRepeated(t *testing.T) {
	t.Parallel()
	type how struct {
		what        string
		feedReaders int
	}
	for way, d := range map[how]faults.Deliveries{
		{"twice by a stream", 0}:       {Double: 1},
		{"shifted by a stream", 0}:     {Double: 0.5, Hold: 0.7, Shuffle: true},
		{"with gaps by a stream", 0}:   {Double: 0.3, Drop: 0.4, Doorbell: 0.4},
		{"twice by a topic", 2}:        {Double: 1},
		{"by all means by a topic", 2}: {Double: 0.5, Hold: 0.5, Shuffle: true, Drop: 0.3, Doorbell: 0.3},
	} {
		t.Run(way.what, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			d.Seed = seed
			stack, s := awsstack.New(t, time.Minute), newShop()
			stack.FeedReaders = way.feedReaders
			tables := awstest.NewFaults(nil, seed, awstest.Mix("DynamoDBStreams.GetRecords", "DynamoDB.UpdateItem", "DynamoDB.TransactWriteItems", "DynamoDB.BatchGetItem", "DynamoDB.Query")...)
			queues := awstest.NewFaults(nil, seed, append(awstest.Before("SQS.ReceiveMessage"), awstest.Mix("SNS.PublishBatch", "SQS.DeleteMessageBatch")...)...)
			p := s.open(t, stack, awstest.DynamoDB(t).Patient(tables), awstest.MiniStack(t).Patient(queues), nil)
			p.faults.Disturb(d)
			p.start()
			const streams, each = 3, 8
			put := func(n int) {
				for i := range streams {
					if err := p.handle(t.Context(), command(fmt.Sprint(n, "-", i), fmt.Sprint("s", i), Put{N: n})); err != nil {
						t.Error(err)
					}
				}
			}
			for n := range each {
				put(n + 1)
			}
			p.faults.Calm()
			put(each + 1) // what was dropped comes to light with it
			own, all := p.fold(nil)
			p.untilRows("Shop.Own", own)
			p.untilRows("Shop.All", all)
			p.untilRows("Shop.Each", own)
			if letters := p.letters(); len(letters) > 0 {
				t.Errorf("there are letters: %+v", letters)
			}
			if len(own) != streams || all["all"].Sum != streams*(each+1)*(each+2)/2 || len(tables.Injected()) == 0 {
				t.Errorf("the log makes %v and %v (faults %v, %v)", own, all, tables.Injected(), queues.Injected())
			}
		})
	}
}

// A commit that one projection fails on is parked within bounds: its stream waits for
// that one, all else goes on, nobody consumes the letter, and redriven it all comes.
func TestPoisonIsParkedAndNothingElseWaits(t *testing.T) {
	t.Parallel()
	stack, s := awsstack.New(t, time.Minute), newShop()
	tables, queues := awstest.NewCounter(nil), awstest.NewCounter(nil)
	p := s.open(t, stack, awstest.DynamoDB(t).Patient(tables), awstest.MiniStack(t).Patient(queues), &host.Options{MaxAttempts: 3})
	p.start()
	n := 0
	put := func(entity, note string) {
		t.Helper()
		n++
		if err := p.handle(t.Context(), command(fmt.Sprint(n), entity, Put{N: n, Note: note})); err != nil {
			t.Fatal(err)
		}
	}
	put("good", "")
	put("bad", "")
	put("bad", "poison")
	put("bad", "")
	put("good", "")
	own, _ := p.fold(nil)
	_, all := p.fold(func(stream string, n uint64) bool { return stream == "bad" && n > 1 })
	p.untilRows("Shop.Own", own)
	p.untilRows("Shop.Each", own)
	p.untilRows("Shop.All", all)
	until(t, "the letter", func() bool { return len(p.letters()) > 0 })
	l := p.letters()[0]
	if len(p.letters()) != 1 || l.Kind != driver.DeadCommit || l.Component != "Shop.All" || l.Stream != "bad" || l.SequenceNr != 2 || l.Attempts != 3 || !strings.Contains(l.Reason, "poison") {
		t.Errorf("the letters are %+v, want that of commit 2 of bad after 3 attempts", p.letters())
	}
	// The letter leads to no request but those by which is asked for what is new.
	writes := func() int {
		return tables.Of("DynamoDB.PutItem", "DynamoDB.UpdateItem", "DynamoDB.DeleteItem", "DynamoDB.TransactWriteItems", "DynamoDB.Query", "DynamoDB.GetItem", "DynamoDB.BatchGetItem") +
			queues.Of("SQS.SendMessageBatch", "SQS.DeleteMessageBatch", "SQS.ChangeMessageVisibilityBatch", "SNS.PublishBatch")
	}
	quiet := func(what string) {
		t.Helper()
		var before, asked int
		until(t, "rest "+what, func() bool { // until thirty rounds pass without any
			if now := writes(); now != before {
				before, asked = now, tables.Of("DynamoDBStreams.GetRecords")
			}
			return tables.Of("DynamoDBStreams.GetRecords") >= asked+30
		})
	}
	quiet("after the parking")
	put("bad", "")
	put("good", "")
	_, all = p.fold(func(stream string, n uint64) bool { return stream == "bad" && n > 1 })
	p.untilRows("Shop.All", all)
	quiet("while the stream is blocked")
	if err := p.Redrive(t.Context(), l.ID); err == nil {
		t.Error("what still fails was redriven")
	}
	s.mended.Store(true)
	if err := p.Redrive(t.Context(), l.ID); err != nil {
		t.Error(err)
	}
	put("bad", "")
	own, all = p.fold(nil)
	p.untilRows("Shop.All", all)
	p.untilRows("Shop.Own", own)
	if letters := p.letters(); len(letters) > 0 {
		t.Errorf("there are letters: %+v", letters)
	}
}

// notYet has the service not know a table while it is made.
type notYet struct {
	table string
	made  atomic.Bool
	asked atomic.Int64
}

func (n *notYet) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	if !n.made.Load() && bytes.Contains(body, []byte(`"`+n.table+`"`)) {
		n.asked.Add(1)
		return &http.Response{
			StatusCode: http.StatusBadRequest, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
			Body: io.NopCloser(strings.NewReader(`{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`)),
		}, nil
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return awstest.Transport().RoundTrip(r)
}

// A deployment that adds a read model makes its functions and its table side by side.
func TestATableThatIsNotThereYetParksNothing(t *testing.T) {
	t.Parallel()
	stack, s := awsstack.New(t, time.Minute), newShop()
	table := &notYet{table: stack.Tables.Table("rows", "Shop.All")}
	p := s.open(t, stack, awstest.DynamoDB(t).Clients(table), awstest.MiniStack(t).Patient(nil), &host.Options{MaxAttempts: 3})
	p.start()
	for i, entity := range []string{"a", "b", "a"} {
		if err := p.handle(t.Context(), command(fmt.Sprint(i), entity, Put{N: i + 1})); err != nil {
			t.Fatal(err)
		}
	}
	own, all := p.fold(nil)
	p.untilRows("Shop.Own", own)
	until(t, "the table to be asked for more often than a message is tried", func() bool { return table.asked.Load() >= 20 || len(p.letters()) > 0 })
	table.made.Store(true)
	until(t, "all to be applied or parked", func() bool { return len(p.letters()) > 0 || maps.Equal(p.rows("Shop.All"), all) })
	if letters := p.letters(); len(letters) > 0 {
		t.Errorf("there are letters: %+v", letters)
	}
}

// What is no commit, or of one that is gone, is parked with the reason, and the
// batch that has it goes on.
func TestForeignRecordsOfABatchAreParkedAndTheOthersApplied(t *testing.T) {
	t.Parallel()
	stack, s := awsstack.New(t, time.Minute), newShop()
	p := s.open(t, stack, awstest.DynamoDB(t).Patient(nil), awstest.MiniStack(t).Patient(nil), &host.Options{MaxAttempts: 2})
	if err := p.handle(t.Context(), command("1", "good", Put{N: 1})); err != nil {
		t.Fatal(err)
	}
	// An item of a foreign shape is in the table, and in its stream.
	table, err := stack.LogTable(t.Context(), "Shop.Jar")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awstest.DynamoDB(t).Clients(nil).DynamoDB.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
		"id": &types.AttributeValueMemberS{Value: "foreign"}, "sequenceNr": &types.AttributeValueMemberN{Value: "1"}, "events": &types.AttributeValueMemberS{Value: "?"},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := p.handle(t.Context(), command("2", "good", Put{N: 2})); err != nil {
		t.Fatal(err)
	}
	p.start()
	own := map[string]SumRow{"good": {3, "1 2 "}}
	p.untilRows("Shop.Own", own)
	p.untilRows("Shop.All", map[string]SumRow{"all": {Sum: 3}})
	until(t, "the letters", func() bool { return len(p.letters()) >= 3 }) // one for each consumer
	for _, l := range p.letters() {
		if l.Kind != driver.DeadRaw || l.Stream != "foreign" || l.SequenceNr != 1 || !strings.Contains(string(l.Body), "foreign") || l.Reason == "" {
			t.Errorf("got the letter %+v", l)
		}
	}
	p.untilRows("Shop.Each", own)

	// The same of a batch that a function is handed: no JSON, a removal, keys without
	// an image of a commit that is there, and of one that is gone.
	keys := func(stream string, n int) string {
		return fmt.Sprintf(`{"eventName":"INSERT","dynamodb":{"SequenceNumber":"%s%d","Keys":{"id":{"S":%q},"sequenceNr":{"N":"%d"}}}}`, stream, n, stream, n)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = s.open(t, stack, awstest.DynamoDB(t).Patient(nil), awstest.MiniStack(t).Patient(nil), &host.Options{MaxAttempts: 2})
	for _, id := range []string{"later", "last"} {
		if err := p.handle(t.Context(), command(id, id, Put{N: 5})); err != nil {
			t.Fatal(err)
		}
	}
	before := len(p.letters())
	var batch []driver.Delivery[driver.Record]
	for i, text := range []string{keys("gone", 1), `{"eventName`, keys("later", 1), `{"eventName":"REMOVE","dynamodb":{"SequenceNumber":"7","Keys":{"id":{"S":"good"},"sequenceNr":{"N":"1"}}}}`, keys("last", 1)} {
		r, _ := eventcollector.DecodeStreamEvent([]byte(text), "Shop.Jar")
		batch = append(batch, driver.Delivery[driver.Record]{ID: fmt.Sprint(i), Attempt: 1, Message: r})
	}
	rand.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
	for round := 1; round <= 2; round++ {
		ends, err := p.HandleRecords(t.Context(), "Shop.Own", "Shop.Jar", batch)
		if err != nil || len(ends) != len(batch) {
			t.Fatalf("%d deliveries ended, %v", len(ends), err)
		}
		for _, e := range ends { // until it is parked the one that is gone comes again
			if want := round == 1 && e.ID == "0"; e.Retry != want {
				t.Errorf("round %d: delivery %s is to come again: %t", round, e.ID, e.Retry)
			}
		}
	}
	own["later"], own["last"] = SumRow{5, "5 "}, SumRow{5, "5 "}
	if got := p.rows("Shop.Own"); !maps.Equal(got, own) {
		t.Errorf("the rows are %v, want %v", got, own)
	}
	if n := len(p.letters()) - before; n != 3 {
		t.Errorf("%d letters came, want 3: %+v", n, p.letters())
	}
	gone, err := p.DeadLetters().Get(t.Context(), "commit/Shop.Own/Shop.Jar/gone")
	if err != nil || gone.Attempts != 2 || !strings.Contains(gone.Reason, "not in the log") {
		t.Errorf("the letter of the commit that is gone: %+v, %v", gone, err)
	}
}
