//! Which of what came is which of what is expected. Pure.

/// For each expected one the place of what came that is it. In order: as many as can be without crossing; else as many as can be.
pub(super) fn assign(
    expected: usize,
    came: usize,
    in_order: bool,
    fits: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    let table: Vec<Vec<bool>> = (0..expected)
        .map(|wanted| (0..came).map(|found| fits(wanted, found)).collect())
        .collect();
    match in_order {
        true => longest_run(&table, came),
        false => most_pairs(&table, came),
    }
}

/// A longest common subsequence.
fn longest_run(table: &[Vec<bool>], came: usize) -> Vec<Option<usize>> {
    let expected = table.len();
    let mut longest = vec![vec![0usize; came + 1]; expected + 1];
    for wanted in (0..expected).rev() {
        for found in (0..came).rev() {
            longest[wanted][found] = match table[wanted][found] {
                true => longest[wanted + 1][found + 1] + 1,
                false => longest[wanted + 1][found].max(longest[wanted][found + 1]),
            };
        }
    }
    let mut pairs = vec![None; expected];
    let (mut wanted, mut found) = (0, 0);
    while wanted < expected && found < came {
        if table[wanted][found] {
            pairs[wanted] = Some(found);
            wanted += 1;
            found += 1;
        } else if longest[wanted + 1][found] >= longest[wanted][found + 1] {
            wanted += 1;
        } else {
            found += 1;
        }
    }
    pairs
}

/// A maximum matching: each expected one takes what fits it, and others move on to make room for it.
fn most_pairs(table: &[Vec<bool>], came: usize) -> Vec<Option<usize>> {
    let mut taken: Vec<Option<usize>> = vec![None; came];
    for wanted in 0..table.len() {
        place(wanted, table, &mut taken, &mut vec![false; came]);
    }
    let mut pairs = vec![None; table.len()];
    for (found, wanted) in taken.iter().enumerate() {
        if let Some(wanted) = wanted {
            pairs[*wanted] = Some(found);
        }
    }
    pairs
}

/// Finds a place by a breadth-first search over who would have to move.
fn place(
    wanted: usize,
    table: &[Vec<bool>],
    taken: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    let mut open = std::collections::VecDeque::from([wanted]);
    // for each place that was looked at, who wants it
    let mut wants = vec![wanted; taken.len()];
    while let Some(who) = open.pop_front() {
        for found in 0..taken.len() {
            if !table[who][found] || seen[found] {
                continue;
            }
            seen[found] = true;
            wants[found] = who;
            match taken[found] {
                Some(owner) => open.push_back(owner),
                None => {
                    move_up(found, wanted, &wants, taken);
                    return true;
                }
            }
        }
    }
    false
}

/// Gives the free place to who wants it, whose place goes to the next, and so on back to `first`.
fn move_up(free: usize, first: usize, wants: &[usize], taken: &mut [Option<usize>]) {
    let mut place = free;
    loop {
        let who = wants[place];
        let left = taken.iter().position(|owner| *owner == Some(who));
        taken[place] = Some(who);
        match left {
            Some(left) if who != first => place = left,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(table: &[&[u8]], in_order: bool) -> Vec<Option<usize>> {
        let came = table.first().map_or(0, |row| row.len());
        assign(table.len(), came, in_order, |wanted, found| {
            table[wanted][found] == 1
        })
    }

    #[test]
    fn a_loose_expectation_leaves_room_for_a_strict_one() {
        // the first fits both, the second only the first
        assert_eq!(pairs(&[&[1, 1], &[1, 0]], false), [Some(1), Some(0)]);
        // three in a chain
        let chain: [&[u8]; 3] = [&[1, 1, 0], &[0, 1, 1], &[1, 0, 0]];
        assert_eq!(pairs(&chain, false), [Some(1), Some(2), Some(0)]);
    }

    #[test]
    fn what_fits_nothing_is_left_over() {
        assert_eq!(pairs(&[&[0, 0], &[0, 1]], false), [None, Some(1)]);
        assert_eq!(pairs(&[&[1], &[1]], false), [Some(0), None]);
        assert_eq!(pairs(&[], false), []);
    }

    #[test]
    fn in_order_one_that_is_missing_does_not_shift_the_others() {
        let table: [&[u8]; 3] = [&[1, 0], &[0, 0], &[0, 1]];
        assert_eq!(pairs(&table, true), [Some(0), None, Some(1)]);
        let crossed: [&[u8]; 2] = [&[0, 1], &[1, 0]];
        assert_eq!(pairs(&crossed, true).iter().flatten().count(), 1);
        assert_eq!(pairs(&crossed, false), [Some(1), Some(0)]);
    }

    proptest::proptest! {
        #[test]
        fn as_many_pairs_as_there_can_be_and_none_twice(
            table in proptest::collection::vec(proptest::collection::vec(proptest::bool::ANY, 5), 1..6),
        ) {
            let pairs = assign(table.len(), 5, false, |wanted, found| table[wanted][found]);
            let mut taken = std::collections::HashSet::new();
            for (wanted, found) in pairs.iter().enumerate() {
                if let Some(found) = found {
                    assert!(table[wanted][*found]);
                    assert!(taken.insert(*found));
                }
            }
            assert_eq!(taken.len(), best(&table, 0, &mut [false; 5]));
        }
    }

    /// By trying all.
    fn best(table: &[Vec<bool>], wanted: usize, used: &mut [bool; 5]) -> usize {
        if wanted == table.len() {
            return 0;
        }
        let mut most = best(table, wanted + 1, used);
        for found in 0..5 {
            if table[wanted][found] && !used[found] {
                used[found] = true;
                most = most.max(1 + best(table, wanted + 1, used));
                used[found] = false;
            }
        }
        most
    }
}
