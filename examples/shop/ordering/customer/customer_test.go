package customer_test

import (
	"testing"

	"github.com/reventless-go/reventless/examples/shop/ordering/customer"
	"github.com/reventless-go/reventless/reventlesstest"
)

var ada = customer.Registered{Email: "ada@example.com", Country: "United Kingdom"}

func TestRegister(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, customer.Aggregate).
		When(customer.Register{Email: "ada", Country: "France"}).ThenRejected("InvalidEmail", "ada").
		When(customer.Register{Email: "Ada <ada@example.com>"}).ThenRejected("InvalidEmail").
		When(customer.Register{}).ThenRejected("InvalidEmail").
		When(customer.Register(ada)).Then(ada).
		When(customer.Register(ada)).ThenRejected("AlreadyRegistered")
}

func TestChangeEmail(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, customer.Aggregate).
		When(customer.ChangeEmail{Email: "ada@example.org"}).ThenRejected("NotFound").
		Given(ada).
		When(customer.ChangeEmail{Email: "ada@example.com"}).ThenNothing().
		When(customer.ChangeEmail{Email: "ada@"}).ThenRejected("InvalidEmail", "ada@").
		When(customer.ChangeEmail{Email: "ada@example.org"}).Then(customer.EmailChanged{Email: "ada@example.org"}).
		When(customer.ChangeEmail{Email: "ada@example.org"}).ThenNothing().
		Given(customer.Deactivated{}).
		When(customer.ChangeEmail{Email: "ada@example.com"}).ThenRejected("Deactivated")
}

func TestDeactivate(t *testing.T) {
	t.Parallel()
	reventlesstest.Aggregate(t, customer.Aggregate).
		When(customer.Deactivate{}).ThenRejected("NotFound").
		Given(ada).
		When(customer.Deactivate{}).Then(customer.Deactivated{}).
		When(customer.Deactivate{}).ThenRejected("Deactivated").
		When(customer.Register(ada)).ThenRejected("AlreadyRegistered")
}

func TestHandles(t *testing.T) {
	t.Parallel()
	reventlesstest.Handles(t, customer.Aggregate)
}
