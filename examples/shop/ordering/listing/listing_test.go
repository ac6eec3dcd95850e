package listing_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/ordering/listing"
	"github.com/reventless-go/reventless/reventlesstest"
)

var lantern = listing.Listed{Name: "Lantern", Price: 339}

func TestList(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, listing.Aggregate).
		When(listing.List(lantern)).Then(lantern).
		When(listing.List(lantern)).ThenNothing().
		When(listing.List{Name: "Lamp", Price: 375}).Then(listing.Listed{Name: "Lamp", Price: 375})
}

func TestChanges(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, listing.Aggregate).
		When(listing.Rename{Name: "Lamp"}).ThenRejected("NotListed").
		When(listing.Reprice{Price: 375}).ThenRejected("NotListed").
		Given(lantern).
		When(listing.Rename{Name: "Lantern"}).ThenNothing().
		When(listing.Rename{Name: "Lamp"}).Then(listing.Renamed{Name: "Lamp"}).
		When(listing.Reprice{Price: 339}).ThenNothing().
		When(listing.Reprice{Price: 375}).Then(listing.Repriced{Price: 375}).
		When(listing.List{Name: "Lamp", Price: 375}).ThenNothing()
}

func TestWithdraw(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, listing.Aggregate).
		When(listing.Withdraw{}).ThenRejected("NotListed").
		Given(lantern).
		When(listing.Withdraw{}).Then(listing.Withdrawn{}).
		When(listing.Withdraw{}).ThenRejected("NotListed").
		When(listing.Rename{Name: "Lamp"}).ThenRejected("NotListed").
		When(listing.List(lantern)).Then(lantern)
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, listing.Aggregate)
}
