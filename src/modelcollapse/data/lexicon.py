"""The words of the built-in language: English, sorted by word class and by topic, the commonest first.

Agents act, things are acted upon and places follow prepositions, so that a grammar that knows only classes
still writes sentences that make sense. Verbs stand in the past tense and nouns in the singular, which spares
agreement; nouns and the adjectives before them begin with a consonant, because the article is always "a".
Every word belongs to one class, and within its class to one topic or to all of them.
"""

from collections.abc import Mapping

SHARED: Mapping[str, tuple[str, ...]] = {
    word_class: tuple(words.split())
    for word_class, words in {
        "full_stop": ".",
        "determiner": "the a his this her every that one their my another our some each your no",
        "pronoun": "he she they we i it you someone everyone nobody somebody everybody",
        "preposition": """in at near from on behind beside outside under through inside across around
            beyond past towards above along beneath below by opposite against over""",
        "conjunction": "and but while because so when until although before after though since whereas yet",
        "linking_verb": "was seemed became looked felt remained grew stayed appeared sounded turned",
        "opening_adverb": """then later yesterday soon suddenly afterwards today eventually meanwhile
            sometimes once finally instead perhaps luckily unfortunately strangely""",
        "manner_adverb": """slowly quietly often never quickly always carefully gently secretly calmly
            proudly eagerly rarely gladly patiently bravely angrily silently clumsily hastily politely
            seldom nervously sadly boldly cheerfully stubbornly reluctantly solemnly wearily cautiously
            tenderly fiercely gracefully drowsily furiously dutifully awkwardly""",
        "closing_adverb": """again alone twice too outdoors anyway everywhere forever indoors nearby
            overnight daily afresh upstairs downstairs elsewhere immediately unseen""",
        "agent": """man woman child boy girl stranger friend neighbour brother sister mother father
            traveller widow soldier doctor priest giant""",
        "thing": """box stone stick picture chair blanket bottle coat hat gift candle mirror clock wheel
            toy bag""",
        "place": """house road village town room corner wall cottage gate mountain lake church prison
            hospital bench""",
        "transitive_verb": """found took carried saw wanted loved made brought kept broke dropped watched
            moved needed threw remembered forgot hated held noticed admired cleaned counted examined""",
        "intransitive_verb": """walked slept waited ran sat stood worked rested wandered laughed smiled
            fell arrived wept returned sighed died paused hesitated shouted whispered trembled""",
        "character_adjective": """tired young happy poor sad brave lonely grumpy gentle wise patient calm
            strong weak rich cruel friendly jealous timid cheerful sleepy generous""",
        "quality_adjective": """small new red big heavy broken black white strange beautiful blue large
            round green dirty valuable bright thin smooth tiny""",
        "setting_adjective": """quiet dark little cold distant deserted silent warm hidden steep peaceful
            gloomy remote bleak damp sheltered""",
    }.items()
}
"""Words of every topic: word class -> words. The closed classes have no others."""

TOPICS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    topic: {word_class: tuple(words.split()) for word_class, words in classes.items()}
    for topic, classes in {
        "sea": {
            "agent": """sailor captain fisherman pilot gull whale diver pirate mermaid smuggler boatman
                dolphin lobsterman helmsman""",
            "thing": """net rope boat sail fish lantern compass barrel hook mast pearl shell cable rudder
                telescope""",
            "place": "harbour beach reef lighthouse bay pier deck shore cove lagoon jetty sandbank",
            "transitive_verb": """hauled mended steered moored lowered towed caught sank salvaged hoisted
                lashed beached""",
            "intransitive_verb": "sailed drifted swam rowed dived drowned floated surfaced",
            "character_adjective": "bearded drenched seasick reckless tanned",
            "quality_adjective": "salty rusty tarred tangled barnacled seaworthy",
            "setting_adjective": "stormy misty sandy rocky tidal",
        },
        "farm": {
            "agent": """farmer shepherd horse goat milkmaid dog rooster ploughman sheep cow hen piglet
                beekeeper labourer""",
            "thing": """plough fence bucket cart harness saddle sack pumpkin basket turnip shovel
                pitchfork scarecrow haystack wheelbarrow""",
            "place": """barn field meadow stable pasture farmyard hill vineyard paddock cornfield pigsty
                windmill""",
            "transitive_verb": """loaded dragged filled planted pulled harvested fetched gathered weighed
                shovelled repaired trampled""",
            "intransitive_verb": "grazed toiled trotted galloped dozed sweated stumbled plodded",
            "character_adjective": "sunburnt stubborn hardy barefoot thrifty",
            "quality_adjective": "muddy wooden ripe sturdy rotten crooked",
            "setting_adjective": "fertile grassy dusty fallow sunlit",
        },
        "court": {
            "agent": """king queen knight prince jester minister duke courtier herald princess servant
                messenger bishop baron""",
            "thing": """crown sword letter throne jewel sceptre banner decree treaty shield ring goblet
                seal portrait dagger""",
            "place": """palace castle tower chamber hall garden dungeon ballroom gatehouse courtyard
                chapel treasury""",
            "transitive_verb": """seized signed guarded sealed stole presented demanded forged inherited
                surrendered refused coveted""",
            "intransitive_verb": "bowed knelt reigned plotted feasted duelled abdicated curtsied",
            "character_adjective": "noble royal loyal proud treacherous",
            "quality_adjective": "golden precious jewelled sacred secret ceremonial",
            "setting_adjective": "splendid vaulted candlelit marble fortified",
        },
        "city": {
            "agent": """banker driver policeman clerk shopkeeper reporter mayor beggar lawyer tourist
                cyclist thief burglar landlord""",
            "thing": """newspaper taxi car ticket wallet suitcase bicycle camera coin briefcase parcel
                telephone bus receipt poster""",
            "place": """street station market bridge square bank museum subway skyscraper boulevard cafe
                tunnel""",
            "transitive_verb": """bought sold parked borrowed lost delivered photographed rented hailed
                stamped posted pawned""",
            "intransitive_verb": "hurried commuted strolled argued queued shopped loitered protested",
            "character_adjective": "busy wealthy corrupt fashionable jobless",
            "quality_adjective": "cheap modern plastic foreign secondhand counterfeit",
            "setting_adjective": "crowded noisy narrow polluted downtown",
        },
        "forest": {
            "agent": """hunter wolf fox bear deer woodcutter ranger squirrel hedgehog raven badger trapper
                hermit tracker""",
            "thing": """branch trap mushroom nest log hatchet bow feather berry pelt root pinecone snare
                leaf campfire""",
            "place": "clearing cave river valley stream glade thicket grove ravine waterfall path swamp",
            "transitive_verb": """chopped gnawed carved sniffed burned hid collected snapped uprooted
                scratched baited kindled""",
            "intransitive_verb": "crept prowled howled camped foraged crouched hibernated growled",
            "character_adjective": "wild fierce watchful solitary nimble",
            "quality_adjective": "mossy hollow thorny fallen gnarled leafy",
            "setting_adjective": "shady wooded shadowy moonlit pathless",
        },
        "kitchen": {
            "agent": """cook baker chef waiter butcher maid guest grandmother brewer housekeeper hostess
                caterer gourmet cat""",
            "thing": """pot kettle loaf knife pie spoon cake bowl pan sausage teacup recipe pudding
                pancake biscuit""",
            "place": """kitchen pantry cellar table stove bakery restaurant cupboard fireplace counter
                tavern sink""",
            "transitive_verb": """baked stirred boiled sliced served tasted peeled roasted washed seasoned
                fried devoured""",
            "intransitive_verb": "dined snacked drank sneezed chewed supped gossiped fasted",
            "character_adjective": "hungry plump greedy thirsty famished",
            "quality_adjective": "hot sweet spicy fresh burnt buttered",
            "setting_adjective": "cosy smoky spotless fragrant greasy",
        },
        "school": {
            "agent": """teacher pupil student professor headmaster librarian scholar tutor graduate
                classmate mathematician lecturer caretaker chemist""",
            "thing": """book question notebook lesson poem sentence dictionary problem theorem page
                textbook diagram formula manuscript chapter""",
            "place": """classroom library school playground laboratory corridor dormitory college
                gymnasium canteen campus desk""",
            "transitive_verb": """read wrote studied explained copied solved memorised corrected recited
                published quoted translated""",
            "intransitive_verb": "graduated fidgeted enrolled daydreamed giggled debated shrugged crammed",
            "character_adjective": "clever curious diligent studious brilliant",
            "quality_adjective": "difficult handwritten printed scholarly forgotten puzzling",
            "setting_adjective": "draughty whitewashed prestigious provincial panelled",
        },
        "theatre": {
            "agent": """dancer singer violinist conductor playwright clown pianist magician composer
                drummer comedian puppeteer soprano juggler""",
            "thing": """song melody violin mask costume script drum trumpet symphony ballad speech puppet
                tragedy comedy waltz""",
            "place": """theatre stage balcony gallery circus cabaret studio podium foyer nightclub
                bandstand playhouse""",
            "transitive_verb": """performed sang played rehearsed composed applauded hummed improvised
                tuned conducted staged parodied""",
            "intransitive_verb": "danced twirled juggled waltzed auditioned pirouetted mimed blushed",
            "character_adjective": "talented nervous famous vain graceful",
            "quality_adjective": "dramatic painted sentimental lively lyrical tuneless",
            "setting_adjective": "glittering packed gilded spotlit lavish",
        },
    }.items()
}
"""Words of one topic: topic -> word class -> words. A language of n topics has the first n."""
