//go:build faults

package drivertest

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// hooked is a provider whose drivers can be tampered with: what a function
// returns takes the place of the driver that was opened.
type hooked struct {
	driver.Provider
	eventLog     func(driver.EventLog, string) driver.EventLog
	commandTopic func(driver.CommandTopic, string) driver.CommandTopic
	eventTopic   func(driver.EventTopic, driver.TopicSpec) driver.EventTopic
	collector    func(driver.EventCollector, driver.CollectorSpec) driver.EventCollector
	checkpoints  func(driver.Checkpoints, string) driver.Checkpoints
	queryDb      func(driver.QueryDb, driver.TableSpec) driver.QueryDb
	engine       func(driver.QueryEngine, []driver.TableSpec) driver.QueryEngine
	stateTopic   func(driver.StateTopic, driver.TableSpec) driver.StateTopic
	counter      func(driver.Counter, string) driver.Counter
	scheduler    func(driver.Scheduler) driver.Scheduler
	bucket       func(driver.Bucket, string) driver.Bucket
	deadLetters  func(driver.DeadLetters) driver.DeadLetters
	outcomes     func(driver.Outcomes) driver.Outcomes
}

// Notify implements [driver.Notifier].
func (h *hooked) Notify(f func(string)) func() { return h.Provider.(driver.Notifier).Notify(f) }

func (h *hooked) OpenEventLog(ctx context.Context, name string) (driver.EventLog, error) {
	d, err := h.Provider.OpenEventLog(ctx, name)
	if err == nil && h.eventLog != nil {
		d = h.eventLog(d, name)
	}
	return d, err
}

func (h *hooked) OpenCommandTopic(ctx context.Context, name string) (driver.CommandTopic, error) {
	d, err := h.Provider.OpenCommandTopic(ctx, name)
	if err == nil && h.commandTopic != nil {
		d = h.commandTopic(d, name)
	}
	return d, err
}

func (h *hooked) OpenEventTopic(ctx context.Context, spec driver.TopicSpec) (driver.EventTopic, error) {
	d, err := h.Provider.OpenEventTopic(ctx, spec)
	if err == nil && h.eventTopic != nil {
		d = h.eventTopic(d, spec)
	}
	return d, err
}

func (h *hooked) OpenEventCollector(ctx context.Context, spec driver.CollectorSpec) (driver.EventCollector, error) {
	d, err := h.Provider.OpenEventCollector(ctx, spec)
	if err == nil && h.collector != nil {
		d = h.collector(d, spec)
	}
	return d, err
}

func (h *hooked) OpenCheckpoints(ctx context.Context, consumer string) (driver.Checkpoints, error) {
	d, err := h.Provider.OpenCheckpoints(ctx, consumer)
	if err == nil && h.checkpoints != nil {
		d = h.checkpoints(d, consumer)
	}
	return d, err
}

func (h *hooked) OpenQueryDb(ctx context.Context, spec driver.TableSpec) (driver.QueryDb, error) {
	d, err := h.Provider.OpenQueryDb(ctx, spec)
	if err == nil && h.queryDb != nil {
		d = h.queryDb(d, spec)
	}
	return d, err
}

func (h *hooked) OpenQueryEngine(ctx context.Context, specs []driver.TableSpec) (driver.QueryEngine, error) {
	d, err := h.Provider.OpenQueryEngine(ctx, specs)
	if err == nil && h.engine != nil {
		d = h.engine(d, specs)
	}
	return d, err
}

func (h *hooked) OpenStateTopic(ctx context.Context, spec driver.TableSpec) (driver.StateTopic, error) {
	d, err := h.Provider.OpenStateTopic(ctx, spec)
	if err == nil && h.stateTopic != nil {
		d = h.stateTopic(d, spec)
	}
	return d, err
}

func (h *hooked) OpenCounter(ctx context.Context, name string) (driver.Counter, error) {
	d, err := h.Provider.OpenCounter(ctx, name)
	if err == nil && h.counter != nil {
		d = h.counter(d, name)
	}
	return d, err
}

func (h *hooked) OpenScheduler(ctx context.Context) (driver.Scheduler, error) {
	d, err := h.Provider.OpenScheduler(ctx)
	if err == nil && h.scheduler != nil {
		d = h.scheduler(d)
	}
	return d, err
}

func (h *hooked) OpenBucket(ctx context.Context, name string) (driver.Bucket, error) {
	d, err := h.Provider.OpenBucket(ctx, name)
	if err == nil && h.bucket != nil {
		d = h.bucket(d, name)
	}
	return d, err
}

func (h *hooked) OpenDeadLetters(ctx context.Context) (driver.DeadLetters, error) {
	d, err := h.Provider.OpenDeadLetters(ctx)
	if err == nil && h.deadLetters != nil {
		d = h.deadLetters(d)
	}
	return d, err
}

func (h *hooked) OpenOutcomes(ctx context.Context) (driver.Outcomes, error) {
	d, err := h.Provider.OpenOutcomes(ctx)
	if err == nil && h.outcomes != nil {
		d = h.outcomes(d)
	}
	return d, err
}

// logHook is a [driver.EventLog] with some methods replaced.
type logHook struct {
	driver.EventLog
	append func(ctx context.Context, c driver.Commit) error
	read   func(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error]
	load   func(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error)
	scan   func(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error]
}

func (h *logHook) Append(ctx context.Context, c driver.Commit) error {
	if h.append != nil {
		return h.append(ctx, c)
	}
	return h.EventLog.Append(ctx, c)
}

func (h *logHook) Read(ctx context.Context, stream string, after uint64) iter.Seq2[driver.Commit, error] {
	if h.read != nil {
		return h.read(ctx, stream, after)
	}
	return h.EventLog.Read(ctx, stream, after)
}

func (h *logHook) Load(ctx context.Context, stream string, foldVersion int) ([]driver.Commit, error) {
	if h.load != nil {
		return h.load(ctx, stream, foldVersion)
	}
	return h.EventLog.Load(ctx, stream, foldVersion)
}

func (h *logHook) Scan(ctx context.Context, segment, segments int) iter.Seq2[driver.Commit, error] {
	if h.scan != nil {
		return h.scan(ctx, segment, segments)
	}
	return h.EventLog.Scan(ctx, segment, segments)
}

// eventTopicHook is a [driver.EventTopic] with some methods replaced.
type eventTopicHook struct {
	driver.EventTopic
	publish func(ctx context.Context, es []driver.Envelope) error
}

func (h *eventTopicHook) Publish(ctx context.Context, es []driver.Envelope) error {
	if h.publish != nil {
		return h.publish(ctx, es)
	}
	return h.EventTopic.Publish(ctx, es)
}

// checkpointsHook is a [driver.Checkpoints] with some methods replaced.
type checkpointsHook struct {
	driver.Checkpoints
	watermark  func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error)
	watermarks func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error)
	advance    func(ctx context.Context, as []driver.Advance) error
	block      func(ctx context.Context, s driver.StreamKey, at uint64) error
	unblock    func(ctx context.Context, s driver.StreamKey) error
}

func (h *checkpointsHook) Watermark(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
	if h.watermark != nil {
		return h.watermark(ctx, s)
	}
	return h.Checkpoints.Watermark(ctx, s)
}

func (h *checkpointsHook) Watermarks(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	if h.watermarks != nil {
		return h.watermarks(ctx, ss)
	}
	return h.Checkpoints.Watermarks(ctx, ss)
}

func (h *checkpointsHook) Advance(ctx context.Context, as []driver.Advance) error {
	if h.advance != nil {
		return h.advance(ctx, as)
	}
	return h.Checkpoints.Advance(ctx, as)
}

func (h *checkpointsHook) Block(ctx context.Context, s driver.StreamKey, at uint64) error {
	if h.block != nil {
		return h.block(ctx, s, at)
	}
	return h.Checkpoints.Block(ctx, s, at)
}

func (h *checkpointsHook) Unblock(ctx context.Context, s driver.StreamKey) error {
	if h.unblock != nil {
		return h.unblock(ctx, s)
	}
	return h.Checkpoints.Unblock(ctx, s)
}

// dbHook is a [driver.QueryDb] with some methods replaced.
type dbHook struct {
	driver.QueryDb
	watermark   func(ctx context.Context, s driver.StreamKey) (driver.Watermark, error)
	watermarks  func(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error)
	load        func(ctx context.Context, id string) ([]driver.Row, error)
	loadRow     func(ctx context.Context, key driver.Key) (driver.Row, error)
	loadRows    func(ctx context.Context, keys []driver.Key) ([]driver.Row, error)
	save        func(ctx context.Context, row driver.Row, mode driver.SaveMode) error
	saveBatch   func(ctx context.Context, rows []driver.Row) error
	count       func(ctx context.Context, key driver.Key, field string, inc int64) (int64, error)
	delete      func(ctx context.Context, key driver.Key) error
	deleteAll   func(ctx context.Context, id string) error
	deleteBatch func(ctx context.Context, keys []driver.Key) error
	apply       func(ctx context.Context, step driver.Step) error
	clear       func(ctx context.Context) error
	advance     func(ctx context.Context, as []driver.Advance) error
}

func (h *dbHook) Watermark(ctx context.Context, s driver.StreamKey) (driver.Watermark, error) {
	if h.watermark != nil {
		return h.watermark(ctx, s)
	}
	return h.QueryDb.Watermark(ctx, s)
}

func (h *dbHook) Watermarks(ctx context.Context, ss []driver.StreamKey) (map[driver.StreamKey]driver.Watermark, error) {
	if h.watermarks != nil {
		return h.watermarks(ctx, ss)
	}
	return h.QueryDb.Watermarks(ctx, ss)
}

func (h *dbHook) Advance(ctx context.Context, as []driver.Advance) error {
	if h.advance != nil {
		return h.advance(ctx, as)
	}
	return h.QueryDb.Advance(ctx, as)
}

func (h *dbHook) Load(ctx context.Context, id string) ([]driver.Row, error) {
	if h.load != nil {
		return h.load(ctx, id)
	}
	return h.QueryDb.Load(ctx, id)
}

func (h *dbHook) LoadRow(ctx context.Context, key driver.Key) (driver.Row, error) {
	if h.loadRow != nil {
		return h.loadRow(ctx, key)
	}
	return h.QueryDb.LoadRow(ctx, key)
}

func (h *dbHook) LoadRows(ctx context.Context, keys []driver.Key) ([]driver.Row, error) {
	if h.loadRows != nil {
		return h.loadRows(ctx, keys)
	}
	return h.QueryDb.LoadRows(ctx, keys)
}

func (h *dbHook) Save(ctx context.Context, row driver.Row, mode driver.SaveMode) error {
	if h.save != nil {
		return h.save(ctx, row, mode)
	}
	return h.QueryDb.Save(ctx, row, mode)
}

func (h *dbHook) SaveBatch(ctx context.Context, rows []driver.Row) error {
	if h.saveBatch != nil {
		return h.saveBatch(ctx, rows)
	}
	return h.QueryDb.SaveBatch(ctx, rows)
}

func (h *dbHook) Count(ctx context.Context, key driver.Key, field string, inc int64) (int64, error) {
	if h.count != nil {
		return h.count(ctx, key, field, inc)
	}
	return h.QueryDb.Count(ctx, key, field, inc)
}

func (h *dbHook) Delete(ctx context.Context, key driver.Key) error {
	if h.delete != nil {
		return h.delete(ctx, key)
	}
	return h.QueryDb.Delete(ctx, key)
}

func (h *dbHook) DeleteAll(ctx context.Context, id string) error {
	if h.deleteAll != nil {
		return h.deleteAll(ctx, id)
	}
	return h.QueryDb.DeleteAll(ctx, id)
}

func (h *dbHook) DeleteBatch(ctx context.Context, keys []driver.Key) error {
	if h.deleteBatch != nil {
		return h.deleteBatch(ctx, keys)
	}
	return h.QueryDb.DeleteBatch(ctx, keys)
}

func (h *dbHook) Apply(ctx context.Context, step driver.Step) error {
	if h.apply != nil {
		return h.apply(ctx, step)
	}
	return h.QueryDb.Apply(ctx, step)
}

func (h *dbHook) Clear(ctx context.Context) error {
	if h.clear != nil {
		return h.clear(ctx)
	}
	return h.QueryDb.Clear(ctx)
}

// engineHook is a [driver.QueryEngine] with some methods replaced.
type engineHook struct {
	driver.QueryEngine
	query func(ctx context.Context, q driver.Query) (driver.Page, error)
	scan  func(ctx context.Context, s driver.Scan) (driver.Page, error)
}

func (h *engineHook) Query(ctx context.Context, q driver.Query) (driver.Page, error) {
	if h.query != nil {
		return h.query(ctx, q)
	}
	return h.QueryEngine.Query(ctx, q)
}

func (h *engineHook) Scan(ctx context.Context, s driver.Scan) (driver.Page, error) {
	if h.scan != nil {
		return h.scan(ctx, s)
	}
	return h.QueryEngine.Scan(ctx, s)
}

// stateTopicHook is a [driver.StateTopic] with some methods replaced.
type stateTopicHook struct {
	driver.StateTopic
	subscribe func(ctx context.Context) (iter.Seq2[driver.StateChange, error], error)
}

func (h *stateTopicHook) Subscribe(ctx context.Context) (iter.Seq2[driver.StateChange, error], error) {
	if h.subscribe != nil {
		return h.subscribe(ctx)
	}
	return h.StateTopic.Subscribe(ctx)
}

// lettersHook is a [driver.DeadLetters] with some methods replaced.
type lettersHook struct {
	driver.DeadLetters
	park   func(ctx context.Context, l driver.DeadLetter) error
	get    func(ctx context.Context, id string) (driver.DeadLetter, error)
	list   func(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error)
	remove func(ctx context.Context, id string) error
}

func (h *lettersHook) Park(ctx context.Context, l driver.DeadLetter) error {
	if h.park != nil {
		return h.park(ctx, l)
	}
	return h.DeadLetters.Park(ctx, l)
}

func (h *lettersHook) Get(ctx context.Context, id string) (driver.DeadLetter, error) {
	if h.get != nil {
		return h.get(ctx, id)
	}
	return h.DeadLetters.Get(ctx, id)
}

func (h *lettersHook) List(ctx context.Context, component, after string, limit int) ([]driver.DeadLetter, error) {
	if h.list != nil {
		return h.list(ctx, component, after, limit)
	}
	return h.DeadLetters.List(ctx, component, after, limit)
}

func (h *lettersHook) Remove(ctx context.Context, id string) error {
	if h.remove != nil {
		return h.remove(ctx, id)
	}
	return h.DeadLetters.Remove(ctx, id)
}

// outcomesHook is a [driver.Outcomes] with some methods replaced.
type outcomesHook struct {
	driver.Outcomes
	put func(ctx context.Context, o driver.Outcome, expires time.Time) error
	get func(ctx context.Context, id string) (driver.Outcome, error)
}

func (h *outcomesHook) Put(ctx context.Context, o driver.Outcome, expires time.Time) error {
	if h.put != nil {
		return h.put(ctx, o, expires)
	}
	return h.Outcomes.Put(ctx, o, expires)
}

func (h *outcomesHook) Get(ctx context.Context, id string) (driver.Outcome, error) {
	if h.get != nil {
		return h.get(ctx, id)
	}
	return h.Outcomes.Get(ctx, id)
}

// topicHook is a [driver.CommandTopic] with some methods replaced.
type topicHook struct {
	driver.CommandTopic
	send    func(ctx context.Context, cs []driver.Command) error
	receive func(ctx context.Context, max int) (driver.Batch[driver.Command], error)
	settle  func(ctx context.Context, ss []driver.Settlement) error
}

func (h *topicHook) Send(ctx context.Context, cs []driver.Command) error {
	if h.send != nil {
		return h.send(ctx, cs)
	}
	return h.CommandTopic.Send(ctx, cs)
}

func (h *topicHook) Receive(ctx context.Context, max int) (driver.Batch[driver.Command], error) {
	if h.receive != nil {
		return h.receive(ctx, max)
	}
	return h.CommandTopic.Receive(ctx, max)
}

func (h *topicHook) Settle(ctx context.Context, ss []driver.Settlement) error {
	if h.settle != nil {
		return h.settle(ctx, ss)
	}
	return h.CommandTopic.Settle(ctx, ss)
}

// collectorHook is a [driver.EventCollector] with some methods replaced.
type collectorHook struct {
	driver.EventCollector
	receive func(ctx context.Context, max int) (driver.Batch[driver.Record], error)
	settle  func(ctx context.Context, ss []driver.Settlement) error
	lag     func(ctx context.Context) (driver.Lag, error)
}

// Lag implements [driver.Lagger].
func (h *collectorHook) Lag(ctx context.Context) (driver.Lag, error) {
	if h.lag != nil {
		return h.lag(ctx)
	}
	return h.EventCollector.(driver.Lagger).Lag(ctx)
}

func (h *collectorHook) Receive(ctx context.Context, max int) (driver.Batch[driver.Record], error) {
	if h.receive != nil {
		return h.receive(ctx, max)
	}
	return h.EventCollector.Receive(ctx, max)
}

func (h *collectorHook) Settle(ctx context.Context, ss []driver.Settlement) error {
	if h.settle != nil {
		return h.settle(ctx, ss)
	}
	return h.EventCollector.Settle(ctx, ss)
}

// counterHook is a [driver.Counter] with some methods replaced.
type counterHook struct {
	driver.Counter
	count     func(ctx context.Context, id, ref string, n int64) error
	addTarget func(ctx context.Context, id, ref string, n int64) error
	state     func(ctx context.Context, id string) (driver.CounterState, error)
	receive   func(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error)
	settle    func(ctx context.Context, ss []driver.Settlement) error
}

func (h *counterHook) Count(ctx context.Context, id, ref string, n int64) error {
	if h.count != nil {
		return h.count(ctx, id, ref, n)
	}
	return h.Counter.Count(ctx, id, ref, n)
}

func (h *counterHook) AddTarget(ctx context.Context, id, ref string, n int64) error {
	if h.addTarget != nil {
		return h.addTarget(ctx, id, ref, n)
	}
	return h.Counter.AddTarget(ctx, id, ref, n)
}

func (h *counterHook) State(ctx context.Context, id string) (driver.CounterState, error) {
	if h.state != nil {
		return h.state(ctx, id)
	}
	return h.Counter.State(ctx, id)
}

func (h *counterHook) Receive(ctx context.Context, max int) (driver.Batch[driver.CounterFinished], error) {
	if h.receive != nil {
		return h.receive(ctx, max)
	}
	return h.Counter.Receive(ctx, max)
}

func (h *counterHook) Settle(ctx context.Context, ss []driver.Settlement) error {
	if h.settle != nil {
		return h.settle(ctx, ss)
	}
	return h.Counter.Settle(ctx, ss)
}

// schedulerHook is a [driver.Scheduler] with some methods replaced.
type schedulerHook struct {
	driver.Scheduler
	create  func(ctx context.Context, s driver.Schedule) error
	delete  func(ctx context.Context, name string) error
	list    func(ctx context.Context) ([]driver.Schedule, error)
	receive func(ctx context.Context, max int) (driver.Batch[driver.Firing], error)
	settle  func(ctx context.Context, ss []driver.Settlement) error
}

func (h *schedulerHook) Create(ctx context.Context, s driver.Schedule) error {
	if h.create != nil {
		return h.create(ctx, s)
	}
	return h.Scheduler.Create(ctx, s)
}

func (h *schedulerHook) Delete(ctx context.Context, name string) error {
	if h.delete != nil {
		return h.delete(ctx, name)
	}
	return h.Scheduler.Delete(ctx, name)
}

func (h *schedulerHook) List(ctx context.Context) ([]driver.Schedule, error) {
	if h.list != nil {
		return h.list(ctx)
	}
	return h.Scheduler.List(ctx)
}

func (h *schedulerHook) Receive(ctx context.Context, max int) (driver.Batch[driver.Firing], error) {
	if h.receive != nil {
		return h.receive(ctx, max)
	}
	return h.Scheduler.Receive(ctx, max)
}

func (h *schedulerHook) Settle(ctx context.Context, ss []driver.Settlement) error {
	if h.settle != nil {
		return h.settle(ctx, ss)
	}
	return h.Scheduler.Settle(ctx, ss)
}

// bucketHook is a [driver.Bucket] with some methods replaced.
type bucketHook struct {
	driver.Bucket
	put     func(ctx context.Context, key string, body io.Reader) error
	get     func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error)
	delete  func(ctx context.Context, key string) error
	list    func(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error)
	receive func(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error)
	settle  func(ctx context.Context, ss []driver.Settlement) error
}

func (h *bucketHook) Put(ctx context.Context, key string, body io.Reader) error {
	if h.put != nil {
		return h.put(ctx, key, body)
	}
	return h.Bucket.Put(ctx, key, body)
}

func (h *bucketHook) Get(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
	if h.get != nil {
		return h.get(ctx, key)
	}
	return h.Bucket.Get(ctx, key)
}

func (h *bucketHook) Delete(ctx context.Context, key string) error {
	if h.delete != nil {
		return h.delete(ctx, key)
	}
	return h.Bucket.Delete(ctx, key)
}

func (h *bucketHook) List(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
	if h.list != nil {
		return h.list(ctx, prefix, after, limit)
	}
	return h.Bucket.List(ctx, prefix, after, limit)
}

func (h *bucketHook) Receive(ctx context.Context, max int) (driver.Batch[driver.ObjectEvent], error) {
	if h.receive != nil {
		return h.receive(ctx, max)
	}
	return h.Bucket.Receive(ctx, max)
}

func (h *bucketHook) Settle(ctx context.Context, ss []driver.Settlement) error {
	if h.settle != nil {
		return h.settle(ctx, ss)
	}
	return h.Bucket.Settle(ctx, ss)
}
