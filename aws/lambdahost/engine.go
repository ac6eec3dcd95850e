package lambdahost

import (
	"context"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// engine handles the messages that a function is handed; see [host.Host].
type engine interface {
	HandleCommands(ctx context.Context, aggregate string, deliveries []driver.Delivery[driver.Command]) ([]driver.Settlement, error)
	HandleRecords(ctx context.Context, consumer, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error)
	HandleRelayed(ctx context.Context, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error)
	HandleFirings(ctx context.Context, deliveries []driver.Delivery[driver.Firing]) []driver.Settlement
	HandleObjects(ctx context.Context, task string, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error)
	HandleFinished(ctx context.Context, counter string, deliveries []driver.Delivery[driver.CounterFinished]) ([]driver.Settlement, error)
	// DeclaredFiring returns the firing of a schedule that the deployment made, and
	// Newer whether its absence may be due to code that is newer than this.
	DeclaredFiring(name string, due time.Time) (driver.Firing, error)
	Newer(err error, at time.Time) bool
	Counts() host.Counts
}

var _ engine = (*host.Host)(nil)
