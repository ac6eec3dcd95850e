// Command deploy creates the shop on AWS with Pulumi: run "pulumi up" in this folder. It
// uses the same declaration as the functions.
package main

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"

	"github.com/reventless-go/reventless/aws/deploy"
	"github.com/reventless-go/reventless/examples/shop"
)

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		app, err := deploy.NewApp(ctx, shop.App(), settings(ctx))
		if err != nil {
			return err
		}
		ctx.Export("api", app.API)
		ctx.Export("deadLetters", app.DeadLetters)
		ctx.Export("failures", app.Failures)
		return nil
	})
}

// settings returns the settings of the stack, which are in Pulumi.<stack>.yaml.
func settings(ctx *pulumi.Context) *deploy.AppArgs {
	stack := config.New(ctx, "")
	args := &deploy.AppArgs{
		Code:     "../../../../bin/lambda.zip", // make package
		Stateful: "stateful.json",
		Defaults: deploy.Settings{MemoryMB: stack.GetInt("memoryMB"), LogLevel: stack.Get("logLevel")},
	}
	if stack.Get("protect") == "false" {
		args.Defaults.Protect = deploy.Off
	}
	if stack.Get("alarms") == "false" {
		args.Defaults.Alarms = deploy.Off
	}
	if topic := stack.Get("alarmTopic"); topic != "" {
		args.Alarms.Topic = pulumi.String(topic)
	}
	return args
}
