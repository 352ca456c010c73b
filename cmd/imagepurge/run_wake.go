package main

import (
	"context"
	"sync"

	"github.com/imagepurge/imagepurge/jobs/worker"
	"github.com/imagepurge/imagepurge/repository"
)

// bells are those of a process's workers, by organisation. It has one connection
// that listens for all of them.
type bells struct {
	mu        sync.Mutex
	of        map[int64]*worker.Bell
	listening bool
}

// add makes the bell of an organisation's worker.
func (b *bells) add(organization int64) *worker.Bell {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = make(map[int64]*worker.Bell)
	}
	bell := worker.NewBell()
	bell.Listening(b.listening)
	b.of[organization] = bell
	return bell
}

// ring wakes the worker of an organisation, or with 0 all.
func (b *bells) ring(organization int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, bell := range b.of {
		if organization == 0 || organization == id {
			bell.Ring()
		}
	}
}

func (b *bells) tell(listening bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listening = listening
	for _, bell := range b.of {
		bell.Listening(listening)
	}
}

// listen rings the bells while work comes. The function that it returns ends that.
func (c *crew) listen(ctx context.Context) (end func()) {
	if c.flags.once { // it ends when nothing is left: nobody has to tell it of more
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		c.d.Listen(ctx, repository.Listener{Ring: c.bells.ring, Listening: c.bells.tell, Log: c.log})
	})
	return func() { cancel(); group.Wait() }
}
