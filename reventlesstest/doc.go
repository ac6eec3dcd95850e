// Package reventlesstest tests applications: each component on its own, in the form
// given, when and then, and a whole App in memory.
//
//	func TestOrderIsPaidOnce(t *testing.T) {
//		reventlesstest.Aggregate(t, order.Aggregate).
//			Given(order.Placed{Total: 1530}).
//			When(order.Pay{}).Then(order.Paid{Amount: 1530}).
//			When(order.Pay{}).ThenRejected("AlreadyPaid")
//	}
//
// [Aggregate], [ReadModel], [Automation] (also for extensions), [SideEffect], [Task]
// and [Offer] start the test of a component. [Event] creates the events that it gets,
// [Rows] and [File] create what it can read. [Handles] tests all message types of an
// aggregate, and [Decode] tests that old messages can still be decoded. [Start] runs an
// App.
//
// The tests of components also check what would fail only later, in a host:
//
//   - Messages, states and rows survive their JSON form.
//   - Pure functions return the same when they are called again. Decide and Evolve do
//     not change the state that they get.
//   - Decide returns the same for a state that comes from a snapshot.
//   - Side effects and tasks are called twice for the same event, as after a failure.
//     The second call must succeed and leave the same files. Test doubles of outside
//     services must expect this, and recognize repetitions by env.IdempotencyKey.
//   - A component addresses and reads only what its Spec lists under Sends and Uses.
//
// The clock of a test starts on 1 January 2026 at 09:00 UTC. It moves by one second with
// each [Event] that does not set a time ([Fact.At]).
//
// An unexpected result fails the test, as does an error or a rejection that no Then
// expects. Tests take a [testing.TB] and are not safe for concurrent use.
package reventlesstest
