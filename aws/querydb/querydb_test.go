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
