package reventlesstest_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/reventlesstest"
	"github.com/reventless-go/reventless/schedule"
)

func ExampleAggregate() {
	t := printer{} // in a test it is the *testing.T

	reventlesstest.Aggregate(t, Book).
		Given(Lent{Member: "ada", Days: 14}).
		When(Lend{Member: "bob", Days: 7}).ThenRejected("NotHere", "ada").
		When(TakeBack{}).Then(Returned{Member: "ada"}).
		When(Lend{Member: "bob", Days: 7}).Then(Lent{Member: "bob", Days: 7}).
		When(Lend{Member: "bob", Days: 7}).ThenNothing()

	fmt.Println("passed")
	// Output:
	// passed
}

// A failure shows the expected and the actual result, and the steps that led to it.
func ExampleAggregate_failure() {
	failing(func(t testing.TB) {
		reventlesstest.Aggregate(t, Book).
			Given(Lent{Member: "ada", Days: 14}).
			When(TakeBack{}).Then(Returned{Member: "bob"})
	})
	// Output:
	// aggregate Book, step 2 (When): the result differs
	//   want: Returned {"member":"bob"}
	//   got:  Returned {"member":"ada"}
	//   the steps so far:
	//     1. Given Lent {"days":14,"member":"ada"}
	//     2. When TakeBack {}
}

func ExampleHandles() {
	t := printer{}
	reventlesstest.Handles(t, Book)

	fmt.Println("passed")
	// Output:
	// passed
}

func ExampleReadModel() {
	t := printer{}
	monday := time.Date(2026, time.March, 2, 10, 0, 0, 0, time.UTC)

	reventlesstest.ReadModel(t, Loans).
		Given(
			reventlesstest.Event(Book, "dune", Lent{Member: "ada", Days: 7}).At(monday),
			reventlesstest.Event(Book, "emma", Lent{Member: "bob", Days: 7}),
			reventlesstest.Event(Book, "emma", Returned{Member: "bob"}),
		).
		ThenRow("dune", Loan{Member: "ada", Due: monday.AddDate(0, 0, 7)}).
		ThenNoRow("emma").
		Given(reventlesstest.Event(Book, "ulysses", Returned{Member: "joe"})).
		ThenError(driver.ErrNotFound)

	fmt.Println("passed")
	// Output:
	// passed
}

func ExampleAutomation() {
	t := printer{}

	reventlesstest.Automation(t, Remind).
		When(reventlesstest.Event(Book, "dune", Returned{Member: "ada"})).
		Then(
			schedule.Delete("dune"),
			Returns.Count("ada", "000000000001.0000", 1),
		)

	fmt.Println("passed")
	// Output:
	// passed
}

// What is longer than a line is shown as a difference.
func ExampleAutomation_failure() {
	failing(func(t testing.TB) {
		reventlesstest.Automation(t, Remind).
			When(reventlesstest.Event(Book, "dune", Returned{Member: "ada"})).
			Then(schedule.Delete("emma"), Returns.Count("ada", "000000000001.0000", 1))
	})
	// Output:
	// automation Remind, step 1 (When): the actions differ
	//   want (-), got (+):
	//   - delete schedule "emma"
	//   + delete schedule "dune"
	//     count 1 on Returns "ada", reference "000000000001.0000"
	//   the steps so far:
	//     1. When Book "dune": Returned {"member":"ada"}
}

func ExampleSideEffect() {
	t := printer{}

	reventlesstest.SideEffect(t, Receipt).
		When(reventlesstest.Event(Book, "dune", Lent{Member: "ada", Days: 14})).
		ThenFile(Outbox, "dune.txt", "ada has dune\nfor 14 days\n")

	fmt.Println("passed")
	// Output:
	// passed
}

func ExampleTask() {
	t := printer{}

	reventlesstest.Task(t, LendList).
		WhenCreated("monday.lst", "ada\ndune\nemma\n").
		Then(
			Book.To("dune", Lend{Member: "ada", Days: 14}),
			Book.To("emma", Lend{Member: "ada", Days: 14}),
		).
		ThenFile(Desk, "monday.lst.done", "2 books\n").
		WhenCreated("notes.txt", "not a list").ThenNothing()

	fmt.Println("passed")
	// Output:
	// passed
}

func ExampleOffer() {
	t := printer{}

	reventlesstest.Offer(t, LendingOffer).
		When(reventlesstest.Event(Book, "dune", Lent{Member: "ada", Days: 14})).
		ThenPublishes(BookGone{Days: 14}).
		WhenCommand(Lending.To("dune", Recall{})).
		ThenSends(Book.To("dune", TakeBack{}))

	fmt.Println("passed")
	// Output:
	// passed
}

// printer stands in for the *testing.T that an example does not have: a failure
// is printed and ends the goroutine.
type printer struct{ testing.TB }

func (printer) Helper()                  {}
func (printer) Cleanup(func())           {}
func (printer) Context() context.Context { return context.Background() }
func (printer) Errorf(f string, a ...any) {
	_, _ = fmt.Fprintf(os.Stdout, f+"\n", a...)
}

func (p printer) Fatalf(f string, a ...any) {
	p.Errorf(f, a...)
	runtime.Goexit()
}

// failing runs a test that fails.
func failing(test func(t testing.TB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(printer{})
	}()
	<-done
}
