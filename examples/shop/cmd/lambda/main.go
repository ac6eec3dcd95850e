// Command lambda is the shop in Lambda functions: one binary for all of them, in
// which a function does what its environment says.
package main

import (
	"github.com/reventless-go/reventless/aws/lambdahost"
	"github.com/reventless-go/reventless/examples/shop"
)

func main() { lambdahost.Start(shop.App(), nil) }
