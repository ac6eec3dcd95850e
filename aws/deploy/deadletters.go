package deploy

import (
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/dynamodb"
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
)

// deadLetters are the table of dead letters, and the bucket in which Lambda stores
// stream records that no function could handle or park.
type deadLetters struct {
	pulumi.ResourceState
	table    *dynamodb.Table
	failures *s3.Bucket
}

func (d *deployment) makeDeadLetters() (*deadLetters, error) {
	r := &deadLetters{}
	parent, err := d.register("DeadLetters", "", r)
	if err != nil {
		return nil, err
	}
	for _, t := range d.tablesOfApp(naming.DeadLetters) {
		if r.table, err = d.makeTable(t, parent); err != nil {
			return nil, err
		}
	}
	if r.failures, err = d.makeBucket(naming.Failures, "", parent); err != nil {
		return nil, err
	}
	return r, d.ctx.RegisterResourceOutputs(r, pulumi.Map{"table": r.table.Name, "failures": r.failures.Bucket})
}
