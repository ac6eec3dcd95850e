package streams

import (
	"encoding/json"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/reventless-go/reventless/aws/internal/dynamo"
	"github.com/reventless-go/reventless/driver"
)

// maxDepth is the maximum depth of nested attributes. The limit of DynamoDB is 32.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
const maxDepth = 64

// parseItem parses an image in typed JSON, {"id":{"S":"a"}}. The item of a missing image
// is nil.
func parseItem(text json.RawMessage) (dynamo.Item, error) {
	if isNull(text) {
		return nil, nil
	}
	return parseMap(text, 0)
}

func isNull(text json.RawMessage) bool { return len(text) == 0 || string(text) == "null" }

func parseMap(text json.RawMessage, depth int) (dynamo.Item, error) {
	var fields map[string]json.RawMessage
	if err := unmarshal(text, &fields); err != nil {
		return nil, err
	}
	item := make(dynamo.Item, len(fields))
	for name, field := range fields {
		v, err := parseValue(field, depth+1)
		if err != nil {
			return nil, fmt.Errorf("attribute %.100q: %w", name, err)
		}
		item[name] = v
	}
	return item, nil
}

func parseValue(text json.RawMessage, depth int) (types.AttributeValue, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels: %w", maxDepth, driver.ErrInvalid)
	}
	var typed map[string]json.RawMessage
	if err := unmarshal(text, &typed); err != nil {
		return nil, err
	}
	if len(typed) != 1 {
		return nil, fmt.Errorf("an attribute of %d types: %w", len(typed), driver.ErrInvalid)
	}
	for kind, value := range typed {
		if isNull(value) {
			return nil, fmt.Errorf("an attribute %.10q without a value: %w", kind, driver.ErrInvalid)
		}
		switch kind {
		case "S":
			v := &types.AttributeValueMemberS{}
			return v, unmarshal(value, &v.Value)
		case "N":
			v := &types.AttributeValueMemberN{}
			return v, unmarshal(value, &v.Value)
		case "B":
			v := &types.AttributeValueMemberB{}
			return v, unmarshal(value, &v.Value)
		case "BOOL":
			v := &types.AttributeValueMemberBOOL{}
			return v, unmarshal(value, &v.Value)
		case "NULL":
			v := &types.AttributeValueMemberNULL{}
			return v, unmarshal(value, &v.Value)
		case "SS":
			v := &types.AttributeValueMemberSS{}
			return v, unmarshal(value, &v.Value)
		case "NS":
			v := &types.AttributeValueMemberNS{}
			return v, unmarshal(value, &v.Value)
		case "BS":
			v := &types.AttributeValueMemberBS{}
			return v, unmarshal(value, &v.Value)
		case "L":
			return parseList(value, depth)
		case "M":
			m, err := parseMap(value, depth)
			return &types.AttributeValueMemberM{Value: m}, err
		}
		return nil, fmt.Errorf("an attribute of the type %.10q: %w", kind, driver.ErrInvalid)
	}
	return nil, nil // not reached
}

func parseList(text json.RawMessage, depth int) (types.AttributeValue, error) {
	var elements []json.RawMessage
	if err := unmarshal(text, &elements); err != nil {
		return nil, err
	}
	list := make([]types.AttributeValue, len(elements))
	for i, e := range elements {
		v, err := parseValue(e, depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return &types.AttributeValueMemberL{Value: list}, nil
}

func unmarshal(text json.RawMessage, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %w", driver.ErrInvalid, err)
	}
	return nil
}
