package policy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"net/url"
	"time"

	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/examples/shop/ordering/order"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/task"
)

// Outbox has the mails that are ready to be sent.
var Outbox = task.NewBucket(task.BucketSpec{Name: "Outbox", Doc: "Mails that are ready to be sent."})

// OrderConfirmation writes a mail for each order that is placed. A repetition writes the
// same mail to the same file, so there is one mail per order.
var OrderConfirmation = automation.NewSideEffect(automation.SideEffectSpec{
	Name:    "OrderConfirmation",
	Doc:     "Writes a confirmation mail for each order that is placed.",
	Effects: automation.Effects{automation.Do(order.Aggregate, confirm)},
	Uses:    plugin.Components{Outbox},
})

func confirm(ctx context.Context, env plugin.Env, e message.Event[order.Event]) error {
	placed, ok := e.Data.(order.Placed)
	if !ok {
		return nil
	}
	// Clients choose the id: a slash in it must not create a folder.
	key := url.PathEscape(e.EntityID) + ".eml"
	return Outbox.Open(env).Put(ctx, key, confirmation(e, placed))
}

// confirmation returns the mail. It depends only on the event, so that repetitions return
// the same bytes. It is addressed to an alias, which the mail server resolves.
func confirmation(e message.Event[order.Event], placed order.Placed) io.Reader {
	to := mail.Address{Address: placed.CustomerID + "@customers.shop.example"}
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	header("From", "<orders@shop.example>")
	header("To", to.String())
	header("Subject", mime.QEncoding.Encode("utf-8", "Your order "+e.EntityID))
	header("Date", e.RecordedAt.Format(time.RFC1123Z))
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "8bit")
	fmt.Fprintf(&b, "\r\nThank you for your order.\r\n\r\n")
	for _, l := range placed.Lines {
		fmt.Fprintf(&b, "%6d x %-12s %12v %14v\r\n", l.Quantity, l.ProductID, l.UnitPrice, l.Total())
	}
	fmt.Fprintf(&b, "\r\nTotal %v\r\n", placed.Total())
	return &b
}
