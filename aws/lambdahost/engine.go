package lambdahost

import (
	"context"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host"
)

// engine handles the messages of a function; see [host.Host].
type engine interface {
	HandleCommands(ctx context.Context, aggregate string, deliveries []driver.Delivery[driver.Command]) ([]driver.Settlement, error)
	HandleRecords(ctx context.Context, consumer, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error)
	HandleRelayed(ctx context.Context, log string, deliveries []driver.Delivery[driver.Record]) ([]driver.Settlement, error)
	HandleFirings(ctx context.Context, deliveries []driver.Delivery[driver.Firing]) []driver.Settlement
	HandleObjects(ctx context.Context, task string, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error)
	HandleFinished(ctx context.Context, counter string, deliveries []driver.Delivery[driver.CounterFinished]) ([]driver.Settlement, error)
	// DeclaredFiring returns the firing of a schedule of the deployment.
	DeclaredFiring(name string, due time.Time) (driver.Firing, error)
	// Newer reports whether err may be due to a deployment that is newer than this code.
	Newer(err error, at time.Time) bool
	Counts() host.Counts
}

var _ engine = (*host.Host)(nil)
