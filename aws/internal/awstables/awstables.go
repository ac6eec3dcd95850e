// Package awstables describes tables as the drivers need them, for tests that make
// them.
package awstables

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/deadletters"
	"github.com/reventless-go/reventless/aws/internal/marks"
	"github.com/reventless-go/reventless/aws/internal/rowtable"
	"github.com/reventless-go/reventless/aws/internal/streams"
	"github.com/reventless-go/reventless/aws/outcomes"
	"github.com/reventless-go/reventless/driver"
)

// Rows is the table of a read model's rows, with a stream of their changes.
func Rows(name string, spec driver.TableSpec) *dynamodb.CreateTableInput {
	in := table(name, rowtable.ID)
	if spec.SubID != "" {
		define(in, rowtable.Sub)
		in.KeySchema = append(in.KeySchema, element(rowtable.Sub, types.KeyTypeRange))
	}
	for _, index := range spec.Indexes {
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, types.GlobalSecondaryIndex{
			IndexName: aws.String(rowtable.IndexName(index.Name)), KeySchema: indexKeys(index),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		})
		define(in, rowtable.KeyAttribute(index.Name))
		define(in, rowtable.SortAttribute(index.Name))
	}
	in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages}
	return in
}

// AddIndex adds an index to a table of rows.
func AddIndex(name string, index driver.Index) *dynamodb.UpdateTableInput {
	defined := &dynamodb.CreateTableInput{}
	define(defined, rowtable.KeyAttribute(index.Name))
	define(defined, rowtable.SortAttribute(index.Name))
	return &dynamodb.UpdateTableInput{
		TableName: &name, AttributeDefinitions: defined.AttributeDefinitions,
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{{Create: &types.CreateGlobalSecondaryIndexAction{
			IndexName: aws.String(rowtable.IndexName(index.Name)), KeySchema: indexKeys(index),
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
		}}},
	}
}

func indexKeys(index driver.Index) []types.KeySchemaElement {
	return []types.KeySchemaElement{
		element(rowtable.KeyAttribute(index.Name), types.KeyTypeHash), element(rowtable.SortAttribute(index.Name), types.KeyTypeRange),
	}
}

// RowsTTL has DynamoDB remove rows that ended; nil where it must not, for rows
// that hold their watermarks.
func RowsTTL(name string, spec driver.TableSpec) *dynamodb.UpdateTimeToLiveInput {
	if spec.OwnRow {
		return nil
	}
	return &dynamodb.UpdateTimeToLiveInput{TableName: &name, TimeToLiveSpecification: &types.TimeToLiveSpecification{
		AttributeName: aws.String(rowtable.TTL), Enabled: aws.Bool(true),
	}}
}

// Marks is the table of a consumer's watermarks, also of a read model whose rows
// do not hold them.
func Marks(name string) *dynamodb.CreateTableInput {
	in := table(name, marks.Stream)
	define(in, marks.Log)
	in.KeySchema = append(in.KeySchema, element(marks.Log, types.KeyTypeRange))
	return in
}

func table(name, key string) *dynamodb.CreateTableInput {
	in := &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema: []types.KeySchemaElement{element(key, types.KeyTypeHash)},
	}
	define(in, key)
	return in
}

func element(attribute string, as types.KeyType) types.KeySchemaElement {
	return types.KeySchemaElement{AttributeName: &attribute, KeyType: as}
}

func define(in *dynamodb.CreateTableInput, attribute string) {
	in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &attribute, AttributeType: types.ScalarAttributeTypeS})
}

// Log is the table of an event log, with a stream of its commits.
func Log(name string) *dynamodb.CreateTableInput {
	in := keyed(name, "id", types.ScalarAttributeTypeS, "sequenceNr", types.ScalarAttributeTypeN)
	in.StreamSpecification = &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewImage}
	return in
}

// Positions is the table of how far consumers have read streams.
func Positions(name string) *dynamodb.CreateTableInput {
	return keyed(name, streams.Consumer, types.ScalarAttributeTypeS, streams.Shard, types.ScalarAttributeTypeS)
}

// Letters is the table of dead letters.
func Letters(name string) *dynamodb.CreateTableInput {
	return keyed(name, deadletters.Partition, types.ScalarAttributeTypeS, deadletters.Sort, types.ScalarAttributeTypeB)
}

// Outcomes is the table of outcomes. The emulator's TTL is left off: its clock is
// not that of the tests.
func Outcomes(name string) *dynamodb.CreateTableInput { return table(name, outcomes.Key) }

func keyed(name, hash string, hashType types.ScalarAttributeType, sort string, sortType types.ScalarAttributeType) *dynamodb.CreateTableInput {
	return &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		KeySchema:            []types.KeySchemaElement{element(hash, types.KeyTypeHash), element(sort, types.KeyTypeRange)},
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &hash, AttributeType: hashType}, {AttributeName: &sort, AttributeType: sortType}},
	}
}
