// Command imagepurge purges customers' images from Capillary, a loyalty
// platform, in batches, at night, and never the wrong image.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // windows are in local time, and a container may have no zones
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
