package querydb_test

import (
	"os"
	"testing"

	"github.com/reventless-go/reventless/aws/internal/awstables"
	"github.com/reventless-go/reventless/aws/internal/awstest"
	"github.com/reventless-go/reventless/driver/drivertest"
)

func TestMain(m *testing.M) { os.Exit(awstest.Run(m)) }

func newStore(t *testing.T) *awstables.Store {
	t.Helper()
	return awstables.NewStore(t, awstest.DynamoDB(t).Clients(nil).DynamoDB, awstest.Stack())
}

func TestQueryDb(t *testing.T) {
	t.Parallel()
	drivertest.TestQueryDb(t, func(t *testing.T) *drivertest.Fixture {
		return newStore(t).Fixture(awstest.DynamoDB(t).Clients(nil).DynamoDB)
	})
}

func TestQueryDbOnMiniStack(t *testing.T) {
	t.Parallel()
	drivertest.TestQueryDb(t, func(t *testing.T) *drivertest.Fixture {
		client := awstest.MiniStack(t).Clients(nil).DynamoDB
		return awstables.NewStore(t, client, awstest.Stack()).Fixture(client)
	})
}

func TestQueryDbUnderFaults(t *testing.T) {
	t.Parallel()
	awstest.UnderFaults(t, 1, drivertest.TestQueryDb, func(t *testing.T, faults *awstest.Faults) *drivertest.Fixture {
		return newStore(t).FixtureUnderFaults(awstest.DynamoDB(t).Patient(faults).DynamoDB)
	}, awstest.Mix()...)
}
