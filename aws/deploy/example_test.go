package deploy_test

import (
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aws/deploy"
)

// App is what an application declares.
func App() *reventless.App { return reventless.New("shop") }

// A program that "pulumi up" runs. It has no output here: there is no engine.
func ExampleNewApp() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		app, err := deploy.NewApp(ctx, App(), &deploy.AppArgs{
			Code:     "bin/lambda.zip",
			Stateful: "stateful.json",
			Defaults: deploy.Settings{MemoryMB: 1024},
			Overrides: map[string]deploy.Settings{
				"Catalog.Imports": {Protect: deploy.Off},
				"tasks/Catalog":   {Timeout: 5 * time.Minute},
			},
		})
		if err != nil {
			return err
		}
		ctx.Export("api", app.API)
		return nil
	})
}
