package deploy

import (
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/dynamodb"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/topology"
)

// recoveryDays is how far back tables with lasting data can be restored: the most
// that there is.
const recoveryDays = 35

// makeTable makes a table. Its name is given, so that a change which DynamoDB cannot
// make in place has it deleted first: Pulumi refuses that for what is protected.
func (d *deployment) makeTable(t schema.Table, parent pulumi.ResourceOption) (*dynamodb.Table, error) {
	args := &dynamodb.TableArgs{
		Name:        pulumi.String(d.name(t.Kind, t.Component)),
		BillingMode: pulumi.String("PAY_PER_REQUEST"),
		HashKey:     pulumi.String(t.Key.Partition.Name),
		Tags:        d.tags(t.Component),
	}
	if t.Key.Sort.Name != "" {
		args.RangeKey = pulumi.String(t.Key.Sort.Name)
	}
	var attributes dynamodb.TableAttributeArray
	for _, a := range t.Attributes() {
		attributes = append(attributes, dynamodb.TableAttributeArgs{Name: pulumi.String(a.Name), Type: pulumi.String(string(a.Type))})
	}
	args.Attributes = attributes
	var indexes dynamodb.TableGlobalSecondaryIndexArray
	for _, i := range t.Indexes {
		indexes = append(indexes, dynamodb.TableGlobalSecondaryIndexArgs{
			Name: pulumi.String(i.Name), ProjectionType: pulumi.String("ALL"), KeySchemas: keySchema(i.Key),
		})
	}
	if indexes != nil {
		args.GlobalSecondaryIndexes = indexes
	}
	if t.TTL != "" {
		args.Ttl = dynamodb.TableTtlArgs{AttributeName: pulumi.String(t.TTL), Enabled: pulumi.Bool(true)}
	}
	if t.Stream != schema.NoStream {
		args.StreamEnabled, args.StreamViewType = pulumi.Bool(true), pulumi.String(string(t.Stream))
	}
	keep := t.Lasting && d.args.ofData(t.Component).Protect == On
	if t.Lasting {
		args.PointInTimeRecovery = dynamodb.TablePointInTimeRecoveryArgs{Enabled: pulumi.Bool(true), RecoveryPeriodInDays: pulumi.Int(recoveryDays)}
		args.DeletionProtectionEnabled = pulumi.Bool(keep)
	}
	table, err := dynamodb.NewTable(d.ctx, d.label(t.Component, t.Kind.String()), args, protected(parent, keep)...)
	if err == nil && t.Stream != schema.NoStream {
		d.streams[source{t.Kind, t.Component}] = table.StreamArn
	}
	return table, err
}

// protected are the options of what is to be kept. What is not says nothing of it, so
// that the options of the App hold.
func protected(parent pulumi.ResourceOption, keep bool) []pulumi.ResourceOption {
	if keep {
		return []pulumi.ResourceOption{parent, pulumi.Protect(true)}
	}
	return []pulumi.ResourceOption{parent}
}

func keySchema(k schema.Key) dynamodb.TableGlobalSecondaryIndexKeySchemaArray {
	keys := dynamodb.TableGlobalSecondaryIndexKeySchemaArray{
		dynamodb.TableGlobalSecondaryIndexKeySchemaArgs{AttributeName: pulumi.String(k.Partition.Name), KeyType: pulumi.String("HASH")},
	}
	if k.Sort.Name != "" {
		keys = append(keys, dynamodb.TableGlobalSecondaryIndexKeySchemaArgs{AttributeName: pulumi.String(k.Sort.Name), KeyType: pulumi.String("RANGE")})
	}
	return keys
}

// tables is a component resource that has tables and nothing else.
type tables struct{ pulumi.ResourceState }

// makeTables makes tables below a component resource of a kind.
func (d *deployment) makeTables(kind, subject string, all []schema.Table) error {
	r := &tables{}
	parent, err := d.register(kind, subject, r)
	if err != nil {
		return err
	}
	outputs := pulumi.Map{}
	for _, t := range all {
		table, err := d.makeTable(t, parent)
		if err != nil {
			return err
		}
		outputs[t.Kind.String()] = table.Name
	}
	return d.ctx.RegisterResourceOutputs(r, outputs)
}

// makeEventLog makes the table of a log.
func (d *deployment) makeEventLog(c topology.Component) error {
	return d.makeTables("EventLog", c.Name, tablesOf(c, naming.Log))
}

// makeQueryDb makes the tables of a read model: its rows, and its watermarks unless
// the rows have them.
func (d *deployment) makeQueryDb(c topology.Component) error {
	return d.makeTables("QueryDb", c.Name, tablesOf(c, naming.Rows, naming.Watermarks))
}

// makeWatermarks makes the table of the watermarks of a consumer that is no read
// model.
func (d *deployment) makeWatermarks(c topology.Component) error {
	return d.makeTables("Watermarks", c.Name, tablesOf(c, naming.Watermarks))
}

// makeCounter makes the tables of a counter, beside those of its log.
func (d *deployment) makeCounter(c topology.Component) error {
	return d.makeTables("Counter", c.Name, tablesOf(c, naming.Refs, naming.Counts))
}

// makeOutcomes makes the table of the outcomes of commands.
func (d *deployment) makeOutcomes() error {
	return d.makeTables("Outcomes", "", d.tablesOfApp(naming.Outcomes))
}

// tablesOfApp are those tables of a kind that no component has.
func (d *deployment) tablesOfApp(k naming.Kind) []schema.Table {
	var out []schema.Table
	for _, t := range schema.Tables(topology.App{}) {
		if t.Kind == k {
			out = append(out, t)
		}
	}
	return out
}
