// Command lambda serves every Lambda function of the shop. The environment of a function
// says which one it is.
package main

import (
	"github.com/reventless-go/reventless/aws/lambdahost"
	"github.com/reventless-go/reventless/examples/shop"
)

func main() { lambdahost.Start(shop.App(), nil) }
