package deploy

import (
	"github.com/pulumi/pulumi-aws/sdk/v7/go/aws/dynamodb"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/naming"
	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/topology"
)

// recoveryDays is how far back tables with lasting data can be restored: the maximum.
const recoveryDays = 35

// makeTable creates a table. Its name is fixed, so a change that DynamoDB cannot make
// in place requires Pulumi to delete the table first, which it refuses if the table is
// protected.
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
	protect := t.Lasting && d.args.ofData(t.Component).Protect == On
	if t.Lasting {
		args.PointInTimeRecovery = dynamodb.TablePointInTimeRecoveryArgs{Enabled: pulumi.Bool(true), RecoveryPeriodInDays: pulumi.Int(recoveryDays)}
		args.DeletionProtectionEnabled = pulumi.Bool(protect)
	}
	table, err := dynamodb.NewTable(d.ctx, d.label(t.Component, t.Kind.String()), args, dataOptions(parent, protect)...)
	if err == nil && t.Stream != schema.NoStream {
		d.streams[source{t.Kind, t.Component}] = table.StreamArn
	}
	return table, err
}

// dataOptions returns the options of a resource with data. If it is not protected, no
// option is set, so that those of the App apply.
func dataOptions(parent pulumi.ResourceOption, protect bool) []pulumi.ResourceOption {
	if protect {
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

// tables is a component resource with only tables.
type tables struct{ pulumi.ResourceState }

// makeTables creates tables as children of a component resource of a kind.
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

// makeEventLog creates the table of a log.
func (d *deployment) makeEventLog(c topology.Component) error {
	return d.makeTables("EventLog", c.Name, tablesOf(c, naming.Log))
}

// makeQueryDb creates the tables of a read model: its rows, and its watermarks unless
// they are in the rows.
func (d *deployment) makeQueryDb(c topology.Component) error {
	return d.makeTables("QueryDb", c.Name, tablesOf(c, naming.Rows, naming.Watermarks))
}

// makeWatermarks creates the table of the watermarks of a consumer that is not a read
// model.
func (d *deployment) makeWatermarks(c topology.Component) error {
	return d.makeTables("Watermarks", c.Name, tablesOf(c, naming.Watermarks))
}

// makeCounter creates the tables of a counter, except its log.
func (d *deployment) makeCounter(c topology.Component) error {
	return d.makeTables("Counter", c.Name, tablesOf(c, naming.Refs, naming.Counts))
}

// makeOutcomes creates the table of the outcomes of commands.
func (d *deployment) makeOutcomes() error {
	return d.makeTables("Outcomes", "", d.tablesOfApp(naming.Outcomes))
}

// tablesOfApp returns the tables of a kind that belong to the whole application.
func (d *deployment) tablesOfApp(k naming.Kind) []schema.Table {
	var out []schema.Table
	for _, t := range schema.Tables(topology.App{}) {
		if t.Kind == k {
			out = append(out, t)
		}
	}
	return out
}
