package worker_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imagepurge/imagepurge/jobs/worker"
)

// A connection that fell silent holds nobody up for longer than half a minute, nor for
// longer than a lease: by then all that it was needed for is another's.
func TestEveryStatementEnds(t *testing.T) {
	t.Parallel()
	kind := reflect.TypeFor[worker.Store]()
	for lease, want := range map[time.Duration]time.Duration{20 * time.Second: 20 * time.Second, time.Minute: 30 * time.Second} {
		for i := range kind.NumMethod() {
			synctest.Test(t, func(t *testing.T) {
				s := &shell{world: newWorld(t, 1, testConfig())}
				s.began = time.Now()
				s.on = func(ctx context.Context, name string) error {
					if name != kind.Method(i).Name {
						t.Errorf("%s was sent for %s", name, kind.Method(i).Name)
					}
					<-ctx.Done()
					return ctx.Err()
				}
				bound := reflect.ValueOf(worker.Bind(tables{s}, lease))
				method := bound.MethodByName(kind.Method(i).Name)
				args := []reflect.Value{reflect.ValueOf(t.Context())}
				for n := 1; n < method.Type().NumIn(); n++ {
					args = append(args, reflect.Zero(method.Type().In(n)))
				}
				results := method.Call(args)
				if err, _ := results[len(results)-1].Interface().(error); err == nil || time.Since(s.began) != want {
					t.Errorf("%s with a lease of %v: %v after %v, want %v", kind.Method(i).Name, lease, err, time.Since(s.began), want)
				}
			})
		}
	}
}
