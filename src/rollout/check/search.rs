//! Breadth first: every state once, the shortest way to each.

use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasherDefault, Hasher},
    rc::Rc,
};

use super::{
    properties::broken,
    world::{Action, Model, World},
};
use crate::rollout::Rollout;

/// A hash for states of our own making: nobody chooses them against us, and there are many.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(padded)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// What a search came to.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    /// Every end that was reached.
    pub(super) ends: BTreeSet<&'static str>,
    pub(super) fault: Option<Fault>,
}

/// A property that does not hold, and the shortest way there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) property: &'static str,
    pub(super) way: Vec<Action>,
}

/// States, by the order in which they were found.
#[derive(Default)]
struct Visited {
    places: HashMap<Rc<World>, usize, BuildHasherDefault<Quick>>,
    worlds: Vec<Rc<World>>,
    /// From where, by what, and how far from the beginning.
    came: Vec<Option<(usize, Action)>>,
    depths: Vec<usize>,
    /// From whom each state is reached without anybody's wish to end it.
    before: Vec<Vec<usize>>,
}

impl Visited {
    fn visit(&mut self, world: World, came: Option<(usize, Action)>) -> usize {
        if let Some(place) = self.places.get(&world) {
            return *place;
        }
        let (world, place) = (Rc::new(world), self.worlds.len());
        self.places.insert(Rc::clone(&world), place);
        self.worlds.push(world);
        self.depths.push(came.map_or(0, |(from, _)| self.depths[from] + 1));
        self.came.push(came);
        self.before.push(Vec::new());
        place
    }

    fn way(&self, mut place: usize) -> Vec<Action> {
        let mut way = Vec::new();
        while let Some((from, action)) = self.came[place] {
            way.push(action);
            place = from;
        }
        way.reverse();
        way
    }

    /// The states from which one of these can be reached.
    fn leads_to(&self, wanted: impl Fn(&World) -> bool) -> Vec<bool> {
        let mut leads = vec![false; self.worlds.len()];
        let mut left: Vec<usize> = (0..self.worlds.len()).filter(|n| wanted(&self.worlds[*n])).collect();
        while let Some(place) = left.pop() {
            if !std::mem::replace(&mut leads[place], true) {
                left.extend(self.before[place].iter().filter(|from| !leads[**from]));
            }
        }
        leads
    }
}

/// Visits every state that can be reached, or finds the nearest fault.
pub(super) fn search(model: &Model) -> Found {
    let mut visited = Visited::default();
    let actions: Vec<Action> = Action::all().into_iter().filter(|action| !(model.never)(*action)).collect();
    for halted in [false, true] {
        visited.visit(World::begins(halted, model), None);
    }
    let (mut place, mut transitions, mut fault) = (0, 0, None);
    'search: while let Some(before) = visited.worlds.get(place).map(Rc::clone) {
        let mut goes_on = before.is_over();
        for action in &actions {
            let Some(after) = before.after(*action, model) else { continue };
            transitions += 1;
            goes_on |= action.is_goodwill();
            let broken = broken(model, &before, *action, &after);
            let came = visited.visit(after, Some((place, *action)));
            if let Some(property) = broken {
                let way = visited.way(place).into_iter().chain([*action]).collect();
                fault = Some(Fault { property, way });
                break 'search;
            }
            if action.is_goodwill() {
                visited.before[came].push(place);
            }
        }
        if !goes_on {
            fault = Some(Fault { property: "no-deadlock", way: visited.way(place) });
            break;
        }
        place += 1;
    }
    let fault = fault.or_else(|| ends(&visited));
    let end = |world: &Rc<World>| world.is_over().then(|| world.rollout.state().as_str());
    Found {
        states: visited.worlds.len(),
        transitions,
        depth: visited.depths.iter().copied().max().unwrap_or(0),
        ends: visited.worlds.iter().filter_map(end).collect(),
        fault,
    }
}

/// From everywhere it can be brought to its good end in time, as long as people, coordinators and workers do their part.
fn ends(visited: &Visited) -> Option<Fault> {
    let completes =
        visited.leads_to(|world| matches!(world.rollout, Rollout::Over(crate::rollout::Ending::Completed)));
    let finishes = visited.leads_to(World::is_over);
    let stuck = |place: &usize| {
        let world = &visited.worlds[*place];
        !world.is_over() && (!finishes[*place] || (!completes[*place] && world.may_complete()))
    };
    let place = (0..visited.worlds.len()).find(stuck)?;
    Some(Fault { property: "can-complete", way: visited.way(place) })
}
