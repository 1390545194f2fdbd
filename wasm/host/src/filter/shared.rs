//! Data and queues shared by the plugins of one `vm_id`, over all workers. They live as long as the process, so what
//! filters keep here survives a change of the filters.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;

use super::abi::Status;
use super::memory::{Answer, Guest, Place, Span, both, bytes, give, put_u32, text};
use super::state::Home;
use crate::limits::{QUEUE_ITEMS, QUEUE_NAME, QUEUE_TOTAL, QUEUES, SHARED_ENTRY, SHARED_TOTAL, SHARED_VALUE};

/// All there is, by `vm_id`.
#[derive(Default)]
pub(crate) struct Spaces {
    spaces: Mutex<HashMap<String, Arc<Space>>>,
    /// Queues have numbers of the process, so that one can be used by who only knows its number.
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// What the plugins of one `vm_id` share.
#[derive(Default)]
pub(crate) struct Space {
    data: Mutex<Data>,
    queues: Mutex<HashMap<Vec<u8>, u32>>,
    /// Bytes that wait in all of them.
    waiting: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Data {
    values: HashMap<Vec<u8>, Value>,
    size: usize,
    cas: u32,
}

struct Value {
    bytes: Bytes,
    cas: u32,
}

#[derive(Default)]
pub(crate) struct Queue {
    items: Mutex<VecDeque<Bytes>>,
    /// Of all queues of its `vm_id`.
    waiting: Arc<AtomicUsize>,
    /// Who registered last is told of new items.
    reader: Mutex<Option<(Home, u32)>>,
}

impl Spaces {
    pub(crate) fn of(&self, vm_id: &str) -> Arc<Space> {
        Arc::clone(self.spaces.lock().entry(vm_id.to_owned()).or_default())
    }

    /// The queue of this name, if somebody has registered it: what others are called is for guests to say, and not for
    /// us to keep.
    fn find(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let space = self.spaces.lock().get(vm_id).cloned()?;
        space.queues.lock().get(name).copied()
    }

    fn queue(&self, number: u32) -> Result<Arc<Queue>, Status> {
        let index = (number as usize).checked_sub(1).ok_or(Status::NotFound)?;
        self.queues.lock().get(index).cloned().ok_or(Status::NotFound)
    }

    fn register(&self, space: &Space, name: Vec<u8>) -> Result<u32, Status> {
        let mut known = space.queues.lock();
        if let Some(number) = known.get(&name) {
            return Ok(*number);
        }
        if name.len() > QUEUE_NAME {
            return Err(Status::BadArgument);
        }
        if known.len() >= QUEUES {
            return Err(Status::InternalFailure);
        }
        let mut queues = self.queues.lock();
        queues.push(Arc::new(Queue { waiting: Arc::clone(&space.waiting), ..Queue::default() }));
        let number = u32::try_from(queues.len()).map_err(|_| Status::InternalFailure)?;
        known.insert(name, number);
        Ok(number)
    }
}

impl Space {
    fn get(&self, key: &[u8]) -> Result<(Bytes, u32), Status> {
        let data = self.data.lock();
        data.values.get(key).map(|value| (value.bytes.clone(), value.cas)).ok_or(Status::NotFound)
    }

    /// With `cas` other than 0 only over the value of that number.
    fn set(&self, key: &[u8], bytes: Bytes, cas: u32) -> Result<(), Status> {
        let mut data = self.data.lock();
        let old = data.values.get(key);
        if cas != 0 && old.map(|value| value.cas) != Some(cas) {
            return Err(Status::CasMismatch);
        }
        let freed = old.map_or(0, |value| value.bytes.len() + key.len() + SHARED_ENTRY);
        let size = data.size - freed + bytes.len() + key.len() + SHARED_ENTRY;
        if bytes.len() > SHARED_VALUE || size > SHARED_TOTAL {
            return Err(Status::InternalFailure);
        }
        data.cas = data.cas.wrapping_add(1).max(1);
        let value = Value { bytes, cas: data.cas };
        data.size = size;
        data.values.insert(key.to_vec(), value);
        Ok(())
    }
}

pub(crate) fn get_data(guest: &mut Guest<'_>, key: Span, place: Place, cas: u32) -> Answer {
    let (memory, state) = both(guest)?;
    let (bytes, number) = state.space.get(key.of(memory)?)?;
    put_u32(guest, cas, number)?;
    give(guest, &bytes, place)
}

pub(crate) fn set_data(guest: &mut Guest<'_>, key: Span, value: Span, cas: u32) -> Answer {
    let (memory, state) = both(guest)?;
    let bytes = Bytes::copy_from_slice(value.of(memory)?);
    Ok(state.space.set(key.of(memory)?, bytes, cas)?)
}

pub(crate) fn register_queue(guest: &mut Guest<'_>, name: Span, at: u32) -> Answer {
    let name = bytes(guest, name)?;
    let state = guest.data();
    let number = state.services.spaces.register(&state.space, name)?;
    if let Some(home) = &state.home {
        let queue = state.services.spaces.queue(number)?;
        *queue.reader.lock() = Some((home.clone(), state.root));
    }
    Ok(put_u32(guest, at, number)?)
}

pub(crate) fn resolve_queue(guest: &mut Guest<'_>, vm_id: Span, name: Span, at: u32) -> Answer {
    let (vm_id, name) = (text(guest, vm_id)?, bytes(guest, name)?);
    let state = guest.data();
    let vm_id = if vm_id.is_empty() { &state.plan.vm_id } else { &vm_id };
    let number = state.services.spaces.find(vm_id, &name).ok_or(Status::NotFound)?;
    Ok(put_u32(guest, at, number)?)
}

pub(crate) fn enqueue(guest: &mut Guest<'_>, number: u32, item: Span) -> Answer {
    let item = Bytes::from(bytes(guest, item)?);
    let queue = guest.data().services.spaces.queue(number)?;
    queue.push(item)?;
    queue.notify(number);
    Ok(())
}

pub(crate) fn dequeue(guest: &mut Guest<'_>, number: u32, place: Place) -> Answer {
    let queue = guest.data().services.spaces.queue(number)?;
    let item = queue.pop().ok_or(Status::Empty)?;
    give(guest, &item, place)
}

impl Queue {
    fn push(&self, item: Bytes) -> Result<(), Status> {
        if item.len() > SHARED_VALUE {
            return Err(Status::BadArgument);
        }
        let mut items = self.items.lock();
        let fits = |waiting: usize| Some(waiting + item.len()).filter(|all| *all <= QUEUE_TOTAL);
        if items.len() >= QUEUE_ITEMS || self.waiting.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return Err(Status::InternalFailure);
        }
        items.push_back(item);
        Ok(())
    }

    fn pop(&self) -> Option<Bytes> {
        let item = self.items.lock().pop_front()?;
        self.waiting.fetch_sub(item.len(), Relaxed);
        Some(item)
    }

    /// On the reader's own worker, once whoever wrote is out of the guest.
    fn notify(&self, number: u32) {
        let Some((home, root)) = self.reader.lock().clone() else { return };
        let Some(cell) = home.cell.upgrade() else { return };
        // A callback that fails has been told of by the cell.
        home.worker.spawn(async move { cell.with(|vm| vm.queue_ready(root, number)).unwrap_or_default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_swapped_only_over_the_one_that_was_seen() {
        let space = Space::default();
        assert_eq!(space.get(b"k").unwrap_err(), Status::NotFound);
        assert_eq!(space.set(b"k", Bytes::from_static(b"a"), 7), Err(Status::CasMismatch));
        space.set(b"k", Bytes::from_static(b"a"), 0).unwrap();
        let (_, cas) = space.get(b"k").unwrap();
        space.set(b"k", Bytes::from_static(b"b"), cas).unwrap();
        assert_eq!(space.set(b"k", Bytes::from_static(b"c"), cas), Err(Status::CasMismatch));
        assert_eq!(space.get(b"k").unwrap().0, "b");
    }

    #[test]
    fn shared_data_has_its_bounds() {
        let space = Space::default();
        let big = Bytes::from(vec![0; SHARED_VALUE]);
        assert!(space.set(b"k", vec![0; SHARED_VALUE + 1].into(), 0).is_err());
        let written = (0..100_u8).take_while(|key| space.set(&[*key], big.clone(), 0).is_ok()).count();
        assert_eq!(written, SHARED_TOTAL / SHARED_VALUE - 1, "keys count too");
        space.set(&[0], Bytes::new(), 0).unwrap();
        space.set(&[200], big, 0).unwrap();
    }

    #[test]
    fn queues_have_one_number_each() {
        let spaces = Spaces::default();
        let (a, b) = (spaces.of("a"), spaces.of("b"));
        let first = spaces.register(&a, b"q".to_vec()).unwrap();
        assert_eq!(spaces.register(&a, b"q".to_vec()), Ok(first));
        assert_ne!(spaces.register(&b, b"q".to_vec()), Ok(first));
        assert!(spaces.queue(first).is_ok());
        assert_eq!(spaces.queue(0).err(), Some(Status::NotFound));
        assert_eq!(spaces.queue(99).err(), Some(Status::NotFound));
        assert!(
            (0..QUEUES).all(|i| i == QUEUES - 1 || spaces.register(&a, i.to_le_bytes().to_vec()).is_ok())
        );
        assert_eq!(spaces.register(&a, b"more".to_vec()), Err(Status::InternalFailure));
        assert_eq!(spaces.register(&b, vec![0; QUEUE_NAME + 1]), Err(Status::BadArgument));
    }

    #[test]
    fn what_waits_in_all_queues_of_a_space_has_one_bound() {
        let spaces = Spaces::default();
        let (a, b) = (spaces.of("a"), spaces.of("b"));
        let queue = |space: &Space, name: u8| {
            let number = spaces.register(space, vec![name]).unwrap();
            spaces.queue(number).unwrap()
        };
        let big = Bytes::from(vec![0; SHARED_VALUE]);
        assert_eq!(queue(&a, 0).push(vec![0; SHARED_VALUE + 1].into()), Err(Status::BadArgument));
        let pushed = (0..100).take_while(|name| queue(&a, *name).push(big.clone()).is_ok()).count();
        assert_eq!(pushed, QUEUE_TOTAL / SHARED_VALUE);
        assert_eq!(queue(&a, 99).push(Bytes::from_static(b"x")), Err(Status::InternalFailure));
        queue(&b, 0).push(big.clone()).unwrap();
        assert_eq!(queue(&a, 3).pop().map(|item| item.len()), Some(SHARED_VALUE));
        queue(&a, 99).push(big).unwrap();
    }

    #[test]
    fn a_name_that_is_only_asked_for_is_not_kept() {
        let spaces = Spaces::default();
        let number = spaces.register(&spaces.of("a"), b"q".to_vec()).unwrap();
        assert_eq!((spaces.find("a", b"q"), spaces.find("a", b"other")), (Some(number), None));
        assert!((0..100).all(|i| spaces.find(&format!("guess {i}"), b"q").is_none()));
        assert_eq!(spaces.spaces.lock().len(), 1);
    }

    #[test]
    fn many_small_values_have_a_bound_too() {
        let space = Space::default();
        let written = (0..1_000_000_u32)
            .take_while(|key| space.set(&key.to_le_bytes(), Bytes::new(), 0).is_ok())
            .count();
        assert_eq!(written, SHARED_TOTAL / (4 + SHARED_ENTRY));
        space.set(&0_u32.to_le_bytes(), Bytes::new(), 0).unwrap();
    }
}
