// Package reventlesstest tests the parts of an application, each by itself and
// without a host: given what happened, when this comes, then that is the answer.
//
//	func TestOrderIsPaidOnce(t *testing.T) {
//		reventlesstest.Aggregate(t, order.Aggregate).
//			Given(order.Placed{Total: 1530}).
//			When(order.Pay{}).Then(order.Paid{Amount: 1530}).
//			When(order.Pay{}).ThenRejected("AlreadyPaid")
//	}
//
// There is one such test for each kind of component: [Aggregate], [ReadModel],
// [Automation] (which takes extensions too), [SideEffect], [Task] and [Offer].
// [Event] says what happened to whom; [Rows] and [File] say what a component
// finds when it looks things up. [Handles] tries every message of an aggregate.
// How the components work together is for [Start], which runs a whole App in
// memory.
//
// The tests do what hosts do, and look for what only hosts would bring to light:
//
//   - Every message, state and row goes through its stored form and back. What
//     JSON loses fails the test.
//   - Pure functions are called twice and must answer the same; a state that
//     Evolve or Decide changed in place is found.
//   - An aggregate that has snapshots is decided from one, too.
//   - Whatever calls the outside world (side effects, tasks) is called a second
//     time for the same event, as hosts do after a failure: it must succeed and
//     must leave the same files. Stand-ins for outside services are to expect
//     this, and to tell repetitions by env.IdempotencyKey.
//   - Actions that address what a component has not declared are refused, and so
//     are reads of what it does not use.
//
// Time stands still: it starts on 1 January 2026 at 09:00 UTC and moves by a
// second with each [Event], unless the event says when it was ([Fact.At]).
//
// A step that ends otherwise than expected is a failure of the test. An error or
// a refusal that no Then asked about is one as well, so that nothing fails
// silently. All tests take a [testing.TB] and must be used by one goroutine.
package reventlesstest
